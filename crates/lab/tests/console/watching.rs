//! What is seen, and that every viewer sees it.

use std::process::Stdio;

use serde_json::Value;

use crate::scene::{Console, Scene, wait_for};

/// Redis hangs for two seconds.
const SHORT: &str = r#"
[about]
name = "short"
question = "Redis hangs for a moment: does a read fail?"

[[arm]]
name = "three"
[arm.load]
pace = { rate = 30.0 }
lasts = "6s"
ids = [1, 100]
[[arm.load.request]]
path = "/data/{id}"
[[arm.step]]
at = "2s"
do = { fault = { target = "redis", kind = "pause" } }
[[arm.step]]
at = "4s"
do = { heal = "all" }

[[hypothesis]]
says = "most reads succeed"
arm = "three"
measure = "success"
at_least = 1
"#;

pub(crate) const REDIS: &str = "svg.picture a[href='#node-redis']";

pub(crate) fn the_page_loads_without_complaints(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.open(&scene.console.link);
    browser.wait("document.querySelectorAll('svg.picture a').length === 7");
    for name in ["rate", "latency", "cache"] {
        browser.wait(&format!("document.querySelector('[data-chart={name}] canvas')"));
    }
    browser.next_frame();
    assert!(!browser.holds("location.href.includes('token')"), "the token stays in the address, for all to see");
    assert!(browser.holds("document.querySelector('.topbar .heal fieldset:enabled')"), "the switches are on");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// After a fault: its band, what reads were, and its event.
fn sees_what_happened(scene: &Scene) {
    let browser = &scene.browser;
    browser.wait_text(".events", "pause redis");
    browser.wait_text(".events", "first bypass of Redis");
    browser.wait(&format!("document.querySelector(\"{REDIS} .broken\")"));
    browser.next_frame();
}

pub(crate) fn two_tabs_and_a_reload_see_the_same(scene: &mut Scene) {
    let browser = &scene.browser;
    let frame = |scene: &Scene| scene.console.first_frame(None).1;
    let before = frame(scene);
    browser.open_tab(&format!("http://{}/", scene.console.authority()));
    sees_what_happened(scene);
    assert!(browser.holds("document.querySelector('.topbar .heal fieldset:enabled')"), "a second tab may act, too");
    browser.close_tab();
    browser.reload();
    sees_what_happened(scene);
    let after = frame(scene);
    let points = |frame: &Value| frame["points"].as_array().unwrap().clone();
    let (before, after) = (points(&before), points(&after));
    assert_eq!(before[..], after[..before.len()], "what is sent first begins with the same seconds");
    assert!(after.len() > before.len());
}

pub(crate) fn a_run_is_watched_live_and_its_report_opens(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.click("#load button[value=off]");
    wait_for("a free stack", || scene.stack.status()["session"].is_null().then_some(()));
    let file = scene.stack.beside("short.toml");
    std::fs::write(&file, SHORT).unwrap();
    let reports = scene.stack.beside("reports");
    let words = ["run", file.to_str().unwrap(), "--out", reports.to_str().unwrap()];
    let run = scene.stack.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    browser.wait_text("#run h2", "A run is in progress: short");
    browser.wait_text(".topbar .locked", "held by `lab run short` (pid");
    assert!(
        !browser.holds("document.querySelector('form fieldset:enabled')"),
        "a switch is on while a run holds the stack"
    );
    browser.wait_text("#run", "Arm 1 of 1: three");
    browser.wait_text("#run .hypotheses .open", "most reads succeed");
    browser.wait_text("#run .steps", "pause redis: took effect after");
    browser.wait("document.querySelector('#run a.report')");
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    // A machine that is too busy to send the load on time is no fault of the stack or the console, which has to say the same.
    let (outcome, code) = if said.contains("the machine is too busy") { ("invalid", 2) } else { ("held", 0) };
    assert_eq!(ended.status.code(), Some(code), "{said}");
    browser.wait_text("#run h2 em", outcome);
    browser.wait_text(&format!("#run .hypotheses .{outcome}"), "most reads succeed");
    browser.wait("document.querySelector('.topbar .heal fieldset:enabled')");

    let link = browser.run("return document.querySelector('#run a.report').href");
    browser.open_tab(link.as_str().unwrap());
    assert_eq!(browser.text("h1"), "short");
    assert_eq!(browser.run("return origin"), "null", "its script is outside of the console");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.close_tab();

    browser.wait("document.querySelector('#run a.reports')");
    let link = browser.run("return document.querySelector('#run a.reports').href");
    browser.open_tab(link.as_str().unwrap());
    assert_eq!(browser.text("h1"), "Experiments");
    browser.click("td a[href$='/report.html']");
    browser.wait("document.querySelector('h1')?.textContent === 'short'");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.close_tab();
}

pub(crate) fn a_stream_that_was_cut_goes_on(scene: &mut Scene) {
    let browser = &scene.browser;
    // The same console: what was missed, and no more.
    let (id, first) = scene.console.first_frame(None);
    assert_eq!(first["reset"], true);
    browser.next_frame();
    browser.next_frame();
    let (_, missed) = scene.console.first_frame(Some(&id));
    assert_eq!(missed["reset"], false);
    let points = missed["points"].as_array().unwrap().len();
    assert!((1..=20).contains(&points), "{points} points for one who missed two seconds");

    // Another console at the same address: everything again, and nobody may act without its token.
    browser.click(REDIS);
    browser.click("#node-redis button[value=pause]");
    browser.wait(&format!("document.querySelector(\"{REDIS} .broken\")"));
    let port = scene.console.port();
    scene.console.interrupt();
    assert_eq!(scene.stack.state("redis"), "up", "the end of the console undoes its faults");
    browser.wait("document.body.classList.contains('cut')");
    scene.console = Console::start(&scene.stack, port, &[]);
    browser.wait("!document.body.classList.contains('cut')");
    browser.wait(&format!("!document.querySelector(\"{REDIS} .broken\")"));
    browser.wait_text(".topbar .locked", "it has the token");
    browser.open(&scene.console.link);
    browser.wait("document.querySelector('.topbar .heal fieldset:enabled')");
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|text| text.contains("/stream")), "more than the cut: {complaints:?}");
}
