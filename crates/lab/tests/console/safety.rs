//! Who may act.

use rustix::process::Signal;

use crate::scene::{Console, Scene, wait_for};

pub(crate) fn what_has_no_token_only_watches(scene: &mut Scene) {
    let console = &scene.console;
    let page = console.exchange("GET", "/", &[], "");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("To act, open the address"), "{}", page.body);
    let own = console.cookie();
    let earlier = format!("Cookie: lab_console_{}=0123456789abcdef0123456789abcdef", console.port());
    let refused = [
        ("POST", "/act/heal", vec![], "missing_token"),
        ("POST", "/act/heal", vec![&*earlier], "wrong_token"),
        ("POST", "/act/heal", vec![&*own, "Origin: http://elsewhere.example"], "wrong_origin"),
        ("POST", "/act/heal", vec![&*own, "Host: elsewhere.example"], "wrong_host"),
        ("GET", "/", vec!["Host: elsewhere.example"], "wrong_host"),
        ("GET", "/?token=0123456789abcdef0123456789abcdef", vec![], "wrong_token"),
    ];
    for (method, target, headers, code) in refused {
        let answer = console.exchange(method, target, &headers, "");
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
        assert!(answer.body.contains(&format!("\"code\":\"{code}\"")), "{answer:?}");
    }
    let given = console.exchange("GET", &format!("/?token={}", console.link.rsplit_once('=').unwrap().1), &[], "");
    assert!(given.head.contains("samesite=strict") && given.head.contains("httponly"), "{}", given.head);
    assert!(given.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{}", given.head);
    let nonsense =
        [("fault", "target=moon&kind=pause"), ("fault", "target=redis&kind=melt"), ("scale", "replicas=0"), ("x", "")];
    for (action, body) in nonsense {
        let answer = console.exchange("POST", &format!("/act/{action}"), &[&own], body);
        assert!((400..=404).contains(&answer.status), "{action} {body}: {answer:?}");
    }
}

pub(crate) fn a_second_console_leads_to_the_first(scene: &mut Scene) {
    let (stack, console) = (&scene.stack, &scene.console);
    let second = stack.command(&["console", "--no-open", "--port", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("has a console already") && said.contains(&console.link), "{said}");
    assert!(second.stdout.is_empty(), "no second address: {second:?}");
    let address = format!("http://{}", console.authority());
    assert_eq!(stack.status()["observability"]["console"], address, "lab status says where it is");
    assert_eq!(stack.lab(&["open", "console"]).trim(), console.link);
    assert_eq!(console.exchange("GET", "/", &[], "").status, 200, "the first one goes on");
}

pub(crate) fn a_console_that_is_killed_leaves_nothing_broken(scene: &mut Scene) {
    let (stack, port) = (&scene.stack, scene.console.port());
    let cookie = scene.console.cookie();
    let given = scene.console.exchange("POST", "/act/fault", &[&cookie], "target=redis&kind=pause");
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(stack.state("redis"), "paused");
    scene.console.end_by(Signal::KILL);
    wait_for("Redis, undone by what the console left", || (stack.state("redis") == "up").then_some(()));
    wait_for("a free stack", || stack.status()["session"].is_null().then_some(()));
    assert!(stack.status()["observability"]["console"].is_null(), "a console that is gone is not announced");

    let mut projector = Console::start(stack, port, &["--read-only"]);
    let refused = projector.exchange("POST", "/act/fault", &[&projector.cookie()], "target=redis&kind=pause");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("\"code\":\"read_only\""), "{refused:?}");
    let says_so = || projector.exchange("GET", "/", &[], "").body.contains("This console only shows");
    wait_for("the page to say so", || says_so().then_some(()));
    projector.interrupt();
    scene.console = Console::start(stack, port, &[]);
}
