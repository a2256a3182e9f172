//! A tab that stays open for days, and the console behind it.

use serde_json::json;

use crate::{
    scene::{Console, Scene, wait_for_long},
    watching::REDIS,
};

/// From frame to frame; the page takes them as fast as it can.
const EVERY: &str = "5ms";
/// Until all that is bounded is full: 900 points.
const WARM_UP: u64 = 1_000;
const FRAMES: u64 = 800;
/// In a day of one frame a second.
const DAY: u64 = 86_400;
/// What a day may add to the page's heap, beside what the page has when it is new.
const HEAP_OF_A_DAY: f64 = 20e6;
/// What the measured frames may add to the console: its allocator keeps some of what it frees, and its load generator keeps the
/// latencies of each second of a run, which lasts an hour at most.
const MEMORY: f64 = 8e6;
/// Garbage comes with each frame, also between its collection and the look: the least of several looks is nearest.
const LOOKS: usize = 5;

#[derive(Debug)]
struct Size {
    frames: u64,
    /// In the document.
    elements: u64,
    heap: f64,
    /// With those that are garbage by now.
    nodes: f64,
    listeners: f64,
    console: f64,
}

/// When this many frames were drawn.
fn size(scene: &Scene, frames: u64) -> Size {
    let browser = &scene.browser;
    wait_for_long(&format!("{frames} frames"), || browser.holds(&format!("frames >= {frames}")).then_some(()));
    let looks = (0..LOOKS).map(|_| look(scene));
    looks
        .reduce(|least, look| Size { heap: least.heap.min(look.heap), nodes: least.nodes.min(look.nodes), ..look })
        .unwrap()
}

fn look(scene: &Scene) -> Size {
    let browser = &scene.browser;
    browser.devtools("HeapProfiler.collectGarbage", &json!({}));
    let metrics = browser.devtools("Performance.getMetrics", &json!({}));
    let of = |name: &str| {
        let mut all = metrics["metrics"].as_array().unwrap().iter();
        all.find(|metric| metric["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    let count = |script: &str| browser.run(&format!("return {script}")).as_u64().unwrap();
    Size {
        frames: count("frames"),
        elements: count("document.querySelectorAll('*').length"),
        heap: of("JSHeapUsedSize"),
        nodes: of("Nodes"),
        listeners: of("JSEventListeners"),
        console: scene.console.memory() as f64,
    }
}

pub(crate) fn a_day_in_a_tab_adds_nothing(scene: &mut Scene) {
    let port = scene.console.port();
    // Each frame asks every replica: with one of them there are more frames.
    scene.stack.lab(&["scale", "1"]);
    scene.console.interrupt();
    scene.console = Console::start(&scene.stack, port, &["--every", EVERY]);
    let browser = &scene.browser;
    // The script parses one text for each frame.
    let count =
        "window.frames = 0; { const parse = JSON.parse; JSON.parse = (text) => { frames += 1; return parse(text); }; }";
    browser.devtools("Page.enable", &json!({}));
    let counter = browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": count }));
    browser.devtools("Performance.enable", &json!({}));
    browser.open(&scene.console.link);
    browser.wait("document.querySelector('.topbar .heal fieldset:enabled')");
    // As much as there can be: load, a fault, its badge, whose age changes.
    browser.click("#load button[value=steady]");
    browser.click(REDIS);
    browser.click("#node-redis button[value=pause]");
    browser.wait(&format!("document.querySelector(\"{REDIS} .broken\")"));

    let before = size(scene, WARM_UP);
    let after = size(scene, before.frames + FRAMES);
    let frames = after.frames - before.frames;
    let of_a_day = (after.heap - before.heap) / frames as f64 * DAY as f64;
    eprintln!("{frames} frames: {before:?}, {after:?}; the heap of a day: {of_a_day:.0} bytes");
    assert!(after.elements <= before.elements + 20, "the document grows: {before:?} {after:?}");
    assert!(after.nodes <= before.nodes + frames as f64, "nodes are kept: {before:?} {after:?}");
    assert!(after.listeners <= before.listeners, "listeners are added: {before:?} {after:?}");
    assert!(of_a_day < HEAP_OF_A_DAY, "the heap grows by {of_a_day:.0} bytes a day: {before:?} {after:?}");
    assert!(after.console < before.console + MEMORY, "the console grows: {before:?} {after:?}");

    browser.devtools("Page.removeScriptToEvaluateOnNewDocument", &counter);
    scene.console.interrupt();
    scene.console = Console::start(&scene.stack, port, &[]);
    browser.open(&scene.console.link);
    browser.wait(&format!("!document.querySelector(\"{REDIS} .broken\")"));
}
