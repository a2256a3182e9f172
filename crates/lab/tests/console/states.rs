//! The states of a stack that are no one's fault: many replicas, one that is gone, no stack at all.

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    acting::HEAL,
    scene::{Scene, wait_for},
};

const NODES: &str = "svg.picture a[href^='#node-api-']";

fn scale(scene: &Scene, replicas: usize) {
    let browser = &scene.browser;
    browser.run(&format!("document.querySelector('#switches select[name=replicas]').value = '{replicas}'"));
    browser.click("form[action='/act/scale'] button");
    browser.wait(&format!("document.querySelectorAll(\"{NODES}\").length === {replicas}"));
    browser.wait(&format!("document.querySelectorAll(\"{NODES} .up\").length === {replicas}"));
    browser.wait_text(".events li", &format!("scale to {replicas}"));
    browser.wait_text(".events li", "done after");
}

pub(crate) fn nine_replicas_are_drawn_beside_each_other(scene: &mut Scene) {
    let browser = &scene.browser;
    scale(scene, 9);
    let overlaps = "(() => {
        const boxes = [...document.querySelectorAll('svg.picture .node > rect')].map((card) => card.getBoundingClientRect());
        return boxes.some((one, at) => boxes.slice(at + 1).some((other) => one.left < other.right && other.left < one.right
            && one.top < other.bottom && other.top < one.bottom));
    })()";
    assert!(!browser.holds(overlaps), "two servers lie over each other");
    assert!(browser.holds("document.querySelectorAll('table tbody tr').length >= 12"), "{}", browser.text("table"));
    scale(scene, 3);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub(crate) fn a_replica_that_vanishes_is_drawn_as_stopped(scene: &mut Scene) {
    let browser = &scene.browser;
    let status = scene.stack.status();
    let replicas = status["replicas"].as_array().unwrap();
    let pid = replicas.iter().find(|replica| replica["name"] == "api-3").unwrap()["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    browser.wait("document.querySelector(\"svg.picture a[href='#node-api-3'] .stopped\")");
    browser.wait_text("table", "stopped");
    browser.click(HEAL);
    browser.wait(&format!("document.querySelectorAll(\"{NODES} .up\").length === 3"));
    browser.wait_text(".events li", "api-3 answered after");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub(crate) fn without_a_stack_the_page_says_so_and_can_start_it(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.click("#load button[value=steady]");
    browser.wait_text("#load", "sent");
    browser.click("#load button[value=off]");
    wait_for("a free stack", || scene.stack.status()["session"].is_null().then_some(()));
    scene.stack.lab(&["down"]);
    browser.wait_text("#picture", "No stack is running");
    browser.wait_text("#picture", "up --detach");
    browser.click("form[action='/act/up'] button");
    browser.wait("document.querySelectorAll('svg.picture .up').length === 6");
    browser.wait_text(".events li", "up after");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
