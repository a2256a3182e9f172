//! Accessibility, sizes, colours and motion.

use serde_json::json;

use crate::{browser::Browser, scene::Scene, watching::REDIS};

const AXE: &str = include_str!("axe/axe.min.js");
/// What axe-core finds against WCAG 2.2 A and AA and its own best practices, one line for each element.
const FINDINGS: &str = "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.flatMap(\
    (rule) => rule.nodes.map((node) => `${rule.id}: ${node.target}: ${node.failureSummary}`)))";

const FAINT_IN_PICTURE: &str = include_str!("picture_contrast.js");

fn assert_accessible(browser: &Browser, when: &str) {
    if !browser.holds("window.axe") {
        browser.evaluate(&format!("{AXE};0"));
    }
    assert_eq!(browser.evaluate(FINDINGS), json!([]), "{when}");
    assert_eq!(browser.run(FAINT_IN_PICTURE), json!([]), "{when}");
}

/// The page itself, the sheet of a server of each kind, and what is shown with a fault.
pub(crate) fn axe_finds_nothing(scene: &mut Scene) {
    let browser = &scene.browser;
    for hash in ["", "#node-redis", "#node-postgres", "#node-nginx", "#node-api-1"] {
        browser.run(&format!("location.hash = '{hash}'"));
        assert_accessible(browser, hash);
    }
    browser.run("location.hash = ''; document.querySelectorAll('details').forEach((part) => { part.open = true; })");
    assert_accessible(browser, "with everything open");
    browser.reload();
}

pub(crate) fn it_fits_wide_and_narrow_screens_light_and_dark(scene: &mut Scene) {
    let browser = &scene.browser;
    let mut papers = Vec::new();
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "dark"), (390, "light")] {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        browser.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let scheme_is = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", &scheme_is);
        browser.wait(&format!("innerWidth === {width}"));
        // The charts follow the screen.
        browser
            .wait(&format!("[...document.querySelectorAll('.uplot')].every((chart) => chart.scrollWidth <= {width})"));
        browser.next_frame();
        let fits = "document.documentElement.scrollWidth === document.documentElement.clientWidth";
        assert!(browser.holds(fits), "{scheme}: the page is wider than {width}");
        // The picture is moved in its frame, and the page says so.
        let is_wider = "(() => { const frame = document.querySelector('.scroll'); return frame.scrollWidth > frame.clientWidth; })()";
        let says_so = "document.querySelector('.sideways').checkVisibility()";
        assert_eq!((browser.holds(is_wider), browser.holds(says_so)), (width < 500, width < 500), "{scheme}, {width}");
        browser.click(REDIS);
        assert!(browser.holds(fits), "{scheme}: with a sheet the page is wider than {width}");
        assert_accessible(browser, &format!("{scheme}, {width}, with a sheet"));
        browser.click("#node-redis .close");
        assert_accessible(browser, &format!("{scheme}, {width}"));
        papers.push(browser.run("return getComputedStyle(document.body).backgroundColor").to_string());
    }
    assert!(papers[0] == papers[3] && papers[1] == papers[2] && papers[0] != papers[1], "{papers:?}");
    browser.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "features": [] }));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub(crate) fn nothing_moves_where_that_is_not_wanted(scene: &mut Scene) {
    let browser = &scene.browser;
    browser.wait("document.getAnimations().length > 0");
    let wanted = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    browser.devtools("Emulation.setEmulatedMedia", &wanted);
    browser.wait("document.getAnimations().length === 0");
    browser.next_frame();
    assert!(browser.holds("document.getAnimations().length === 0"));
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "features": [] }));
}
