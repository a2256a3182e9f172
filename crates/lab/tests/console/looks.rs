//! Names, sizes, colours and motion.

use serde_json::{Value, json};

use crate::scene::Scene;

/// Text whose contrast with what is behind it is below 4.5 to 1 (3 to 1 where it is large). Controls that are off are left out.
const FAINT: &str = include_str!("contrast.js");

pub(crate) fn every_control_has_a_name(scene: &mut Scene) {
    let browser = &scene.browser;
    let roles =
        ["button", "link", "textbox", "spinbutton", "combobox", "checkbox", "radio", "progressbar", "image", "region"];
    // The page itself, and the sheets of one server of each kind.
    for hash in ["", "#node-redis", "#node-postgres", "#node-nginx", "#node-api-1"] {
        browser.run(&format!("location.hash = '{hash}'"));
        browser.devtools("Accessibility.enable", &json!({}));
        let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap();
        let is_control = |node: &&Value| roles.contains(&node["role"]["value"].as_str().unwrap_or_default());
        let controls: Vec<&Value> =
            nodes.iter().filter(|node| node["ignored"] != Value::Bool(true)).filter(is_control).collect();
        assert!(controls.len() > 30, "{} controls", controls.len());
        let nameless =
            controls.iter().filter(|node| node["name"]["value"].as_str().unwrap_or_default().trim().is_empty());
        let nameless: Vec<String> = nameless.map(|node| node.to_string()).collect();
        assert!(nameless.is_empty(), "{hash}: {nameless:#?}");
    }
    browser.devtools("Accessibility.disable", &json!({}));
    browser.run("location.hash = ''");
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
        browser.click("svg.picture a[href='#node-redis'], a[href='#node-redis']");
        assert!(browser.holds(fits), "{scheme}: with a sheet the page is wider than {width}");
        browser.click("#node-redis .close");
        assert_eq!(browser.run(FAINT), json!([]), "{scheme}, {width}");
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
