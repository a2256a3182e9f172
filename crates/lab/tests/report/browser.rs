//! The pages in a real browser (`chromium`), on a wide and on a narrow screen: nothing is missing, nothing lies over anything
//! else, nothing is fetched.

use std::{fs, path::Path, process::Command};

use crate::recorded::JOURNAL;

/// Runs in the page and leaves what it found in the title, which is in the dump.
const CHECK: &str = include_str!("browser.js");

/// What the check found. The page is in a frame: a browser's own window has a least width that is more than a telephone's.
fn found(page: &Path, width: u32) -> String {
    let text = fs::read_to_string(page).unwrap();
    // The check comes last, so the page's own script has run.
    let checked = text.replace("</body>", &format!("<script>{CHECK}</script></body>"));
    let quoted = checked.replace('&', "&amp;").replace('"', "&quot;");
    let frame = format!("<iframe style=\"border: 0; width: {width}px; height: 900px\" srcdoc=\"{quoted}\"></iframe>");
    let checked = page.with_file_name(format!("checked-{width}.html"));
    fs::write(&checked, format!("<!doctype html><title>the check did not run</title>{frame}")).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},1000", width.max(500) + 100))
        .arg(format!("file://{}", checked.display()))
        .output()
        .expect("chromium is needed for this test: apt-get install chromium");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = dom.find("<title>").unwrap_or_else(|| panic!("no page: {}", String::from_utf8_lossy(&output.stderr)));
    dom[begin + "<title>".len()..dom.find("</title>").unwrap()].to_owned()
}

#[test]
fn a_report_is_whole_on_wide_and_narrow_screens() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal.ndjson");
    fs::write(&journal, JOURNAL).unwrap();
    let page = lab::report::write(&journal).unwrap().html;
    let headings = "Hypotheses, Figures of the source, What happened, Before, during, after, Post-mortem, Timeline, planned and \
                    actual, The load generator, The run, To repeat it, The journal";
    for width in [1280, 390] {
        assert_eq!(
            found(&page, width),
            format!("headings: {headings}; pictures: 7; screen: {width}; problems: none"),
            "{width} pixels wide"
        );
    }
}
