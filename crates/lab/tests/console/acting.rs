//! Switches, with a mouse, with a keyboard, and without scripts.

use fantoccini::key::Key;
use serde_json::json;

use crate::{browser::Browser, scene::Scene, watching::REDIS};

pub(crate) const HEAL: &str = ".topbar .heal button";

fn wait_broken(browser: &Browser) {
    browser.wait(&format!("document.querySelector(\"{REDIS} .broken .pill\")?.textContent.startsWith('pause')"));
}

fn wait_whole(browser: &Browser) {
    browser.wait(&format!("!document.querySelector(\"{REDIS} .broken\")"));
}

pub(crate) fn a_click_on_pause_shows_the_fault_and_its_effects(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.run("document.querySelector('#load input[name=rate]').value = 50");
    browser.click("#load button[value=steady]");
    let last = |chart: &str, name: &str| {
        format!(
            "[...document.querySelectorAll('[data-chart={chart}] .u-series')].some((row) => \
             row.textContent.startsWith('{name}') && parseFloat(row.querySelector('.u-value').textContent) > 0)"
        )
    };
    browser.wait(&last("cache", "hit"));
    browser.click(REDIS);
    browser.click("#node-redis button[value=pause]");
    wait_broken(browser);
    browser.wait_text(".events li strong", "pause redis");
    browser.wait_text(".events li", "took effect after");
    browser.wait_text(".events li", "first bypass of Redis after");
    browser.wait_text(".events li", "breaker of Redis open after");
    browser.wait_text(".events li .command", "fault pause redis");
    browser.wait(&last("cache", "bypass"));
    browser.wait_text(".topbar", "1 fault");
    assert_eq!(scene.stack.state("redis"), "paused");

    // What is broken already is refused, in words.
    browser.click("#node-redis button[value=pause]");
    browser.wait("document.querySelector('#told.bad')");
    // A command without good end is no complaint about the page.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|text| text.contains("/act/fault")), "{complaints:?}");
    browser.click("#node-redis .close");
}

pub(crate) fn heal_all_makes_the_stack_whole(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.click(HEAL);
    wait_whole(browser);
    browser.wait_text(".events li", "redis answered after");
    browser.wait_text(".events li", "first cache hit");
    assert_eq!(scene.stack.state("redis"), "up");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub(crate) fn the_keyboard_alone_is_enough(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.reload();
    browser.next_frame();
    browser.tab_to(".skip");
    browser.tab_to(HEAL);
    browser.tab_to(REDIS);
    let has_focus = |css: &str| {
        let matches = format!("document.activeElement.matches(\"{css}\")");
        assert!(browser.holds(&matches), "the focus is not on {css}");
    };
    for _ in 0..2 {
        browser.next_frame();
        has_focus(REDIS);
    }
    browser.press(Key::Enter);
    browser.wait("location.hash === '#node-redis'");
    browser.tab_to("#node-redis button[value=pause]");
    browser.next_frame();
    has_focus("#node-redis button[value=pause]");
    browser.press(Key::Enter);
    wait_broken(browser);
    browser.next_frame();
    has_focus("#node-redis button[value=pause]");
    browser.press(Key::Escape);
    has_focus(REDIS);
    browser.wait("getComputedStyle(document.querySelector('#node-redis')).display === 'none'");
    browser.tab_back_to(HEAL);
    browser.press(Key::Enter);
    wait_whole(browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub(crate) fn without_scripts_it_is_readable_and_forms_work(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.reload();
    browser
        .wait("document.querySelector('noscript').textContent || document.querySelector('noscript').childElementCount");
    assert!(browser.holds("document.querySelectorAll('svg.picture a').length === 7"));
    assert!(browser.text("table").contains("postgres"), "{}", browser.text("table"));
    browser.click(REDIS);
    browser.click("#node-redis button[value=pause]");
    // The page renews itself every 10 s.
    browser.wait(&format!("document.querySelector(\"{REDIS} .broken\")"));
    browser.wait_text(".events", "pause redis");
    browser.click(HEAL);
    browser.wait(&format!("document.querySelector(\"{REDIS} .node:not(.broken)\")"));
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": false }));
    browser.reload();
    browser.wait("document.querySelector('.u-legend')");
}
