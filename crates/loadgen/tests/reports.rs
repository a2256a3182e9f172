//! Summaries and pages are functions of the recorded run: the same file gives the same text, byte for byte.
//!
//! After an intended change, check the new files and record them:
//! `for f in open closed; do load report $f.json > $f.txt; load report $f.json --html $f.html; done` in `tests/recorded`.

use std::path::Path;

use loadgen::Report;

fn recorded(name: &str) -> Report {
    Report::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name)).expect(name)
}

/// Compares line by line, to show the first difference instead of two whole files.
fn assert_same(what: &str, text: &str, expected: &str) {
    for (at, (line, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, wanted, "{what}, line {}", at + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{what}: number of lines");
}

#[test]
fn a_recorded_run_gives_the_recorded_summary_and_page() {
    let open = recorded("open.json");
    assert_same("open.txt", &open.to_text(), include_str!("recorded/open.txt"));
    assert_same("open.html", &open.to_html(), include_str!("recorded/open.html"));
    let closed = recorded("closed.json");
    assert_same("closed.txt", &closed.to_text(), include_str!("recorded/closed.txt"));
    assert_same("closed.html", &closed.to_html(), include_str!("recorded/closed.html"));
}

#[test]
fn a_report_survives_being_written_and_read() {
    let open = recorded("open.json");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("again.json");
    std::fs::write(&path, open.to_json()).expect("written");
    assert_eq!(Report::read(&path).expect("read"), open);
}

#[test]
fn names_from_a_server_stay_text() {
    let mut report = recorded("open.json");
    let evil = "</script><script>alert(1)</script>\"'&";
    report.command = evil.to_owned();
    report.plan.target = evil.to_owned();
    report.instances.insert(evil.to_owned(), 1);
    report.verdict.notes.push(evil.to_owned());
    for point in &mut report.series {
        point.instances.insert(evil.to_owned(), 7);
        point.cache.insert(evil.to_owned(), 7);
    }
    for error in &mut report.errors {
        error.example = evil.to_owned();
    }
    let page = report.to_html();
    assert!(page.contains("&lt;script&gt;alert(1)"), "shown as it is");
    assert_eq!(page.matches("<script>").count(), 1, "the page's own");
    assert!(!page.contains("alert(1)</script>"));
}
