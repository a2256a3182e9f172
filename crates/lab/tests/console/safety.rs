//! Who may act.

use crate::scene::Scene;

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
