//! The recorded journal, whole and cut.

use std::{fs, path::Path};

use lab::{
    journal::JournalError,
    report::{self, ReportError},
};

pub(crate) const JOURNAL: &str = include_str!("journal.ndjson");

/// Compares line by line, to show the first difference and not two whole files.
fn assert_same(what: &str, path: &Path, expected: &str) {
    let text = fs::read_to_string(path).unwrap();
    for (at, (line, wanted)) in (1..).zip(text.lines().zip(expected.lines())) {
        assert_eq!(line, wanted, "{what}, line {at}");
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{what}: number of lines");
}

#[test]
fn a_recorded_journal_gives_the_recorded_reports() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal.ndjson");
    fs::write(&journal, JOURNAL).unwrap();
    let paths = report::write(&journal).unwrap();
    assert_same("report.md", &paths.markdown, include_str!("report.md"));
    assert_same("junit.xml", &paths.junit, include_str!("junit.xml"));
    assert_same("postmortem.md", &paths.postmortem.unwrap(), include_str!("postmortem.md"));
    let first = fs::read(&paths.html).unwrap();
    report::write(&journal).unwrap();
    assert_eq!(fs::read(&paths.html).unwrap(), first, "the same journal gives the same page");
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "the journal and four files: {left:?}");
}

#[test]
fn a_journal_that_was_cut_anywhere_has_a_report_that_says_so() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal.ndjson");
    let ends = JOURNAL.match_indices('\n').map(|(at, _)| at + 1);
    // After each line, and in the middle of the one that follows.
    for end in ends.take(JOURNAL.lines().count() - 1).flat_map(|end| [end, (end + 20).min(JOURNAL.len())]) {
        fs::write(&journal, &JOURNAL[..end]).unwrap();
        let paths = report::write(&journal).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        let text = fs::read_to_string(&paths.markdown).unwrap();
        assert!(text.contains("the journal has no end"), "cut at {end}");
        let xml = fs::read_to_string(&paths.junit).unwrap();
        assert!(xml.contains("<error"), "a cut journal must not pass, cut at {end}");
    }
}

#[test]
fn a_journal_of_another_kind_is_refused_and_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal.ndjson");
    let refused = |text: &str| {
        fs::write(&journal, text).unwrap();
        report::write(&journal).unwrap_err()
    };
    let future = JOURNAL.replacen("lab-journal/1", "lab-journal/2", 1);
    let error = refused(&future);
    assert!(
        matches!(&error, ReportError::Journal(JournalError::Schema { found, .. }) if found == "lab-journal/2"),
        "{error}"
    );
    assert!(matches!(refused(""), ReportError::Journal(JournalError::Foreign { .. })));
    assert!(matches!(refused("{\"calls\": 1}\n"), ReportError::Journal(JournalError::Foreign { .. })));
    let broken = JOURNAL.replacen("{\"entry\":\"gate\"", "{\"entry\":\"gait\"", 1);
    let error = refused(&broken);
    assert!(matches!(&error, ReportError::Journal(JournalError::Line { line, .. }) if *line > 1), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert!(matches!(report::write(&place.path().join("none")), Err(ReportError::Read { .. })));
}

#[test]
fn a_file_that_the_lab_has_not_written_is_left_alone() {
    for name in ["report.html", "report.md", "junit.xml", "postmortem.md"] {
        let place = tempfile::tempdir().unwrap();
        let journal = place.path().join("journal.ndjson");
        fs::write(&journal, JOURNAL).unwrap();
        let own = place.path().join(name);
        fs::write(&own, "notes of mine").unwrap();
        let error = report::write(&journal).unwrap_err();
        assert!(matches!(&error, ReportError::NotOurs { path } if *path == own), "{error}");
        assert_eq!(fs::read_to_string(&own).unwrap(), "notes of mine");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "none of the others was written");
    }
}

#[test]
fn names_from_outside_stay_text() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal.ndjson");
    let text = JOURNAL.replace("no GET fails", "<script>alert('x')</script> & | `");
    assert_ne!(text, JOURNAL);
    fs::write(&journal, text).unwrap();
    let paths = report::write(&journal).unwrap();
    let html = fs::read_to_string(paths.html).unwrap();
    assert!(!html.contains("<script>alert"), "it would be run");
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp;"));
    assert!(!fs::read_to_string(paths.junit).unwrap().contains("<script>"));
}

#[test]
fn a_generator_that_was_late_makes_the_run_invalid_unless_the_allowance_covers_it() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal.ndjson");
    let late = JOURNAL.replace(r#""lag_p99_ms":3.188"#, r#""lag_p99_ms":20.0"#);
    let allowed = late.replace(r#""allowance":0.0"#, r#""allowance":0.5"#);
    assert!(late != JOURNAL && allowed != late);
    for (text, is_valid) in [(&late, false), (&allowed, true)] {
        fs::write(&journal, text).unwrap();
        let report = fs::read_to_string(report::write(&journal).unwrap().markdown).unwrap();
        assert_eq!(!report.contains("20 ms late (p99): the machine is too busy"), is_valid, "{report}");
    }
}
