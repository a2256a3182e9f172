//! The verdict as JUnit XML, for CI: a test case for each hypothesis.

use std::fmt::Write as _;

use time::format_description::well_known::Rfc3339;

use super::{file, words};
use crate::{
    journal::Run,
    verdict::{Judged, Outcome, Verdict},
};

pub(super) fn render(run: &Run<'_>, verdict: &Verdict) -> String {
    let count = |outcome: Outcome| verdict.judged.iter().filter(|judged| judged.outcome == outcome).count();
    let begin = run.begin;
    let name = escape(&begin.experiment.about.name);
    let (errors, failures, skipped) = (
        count(Outcome::Invalid) + usize::from(!verdict.invalid.is_empty()),
        count(Outcome::Deviated),
        count(Outcome::Skipped),
    );
    let tests = verdict.judged.len() + 1;
    let at = begin.at.format(&Rfc3339).unwrap_or_default();
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"");
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n<testsuites name=\"lab\" {counts}>\n\
         <testsuite name=\"{name}\" {counts} timestamp=\"{at}\" hostname=\"{}\">\n<properties>\n",
        file::XML_MARK,
        escape(&begin.machine.host)
    );
    let properties = [
        ("command", begin.command.clone()),
        ("seed", begin.seed.to_string()),
        ("repeats", begin.repeats.to_string()),
        ("driver", begin.driver.to_string()),
        ("cores", begin.machine.cores.to_string()),
        ("version", begin.version.clone()),
    ];
    for (property, value) in properties {
        let _infallible = writeln!(xml, "<property name=\"{property}\" value=\"{}\"/>", escape(&value));
    }
    xml += "</properties>\n";
    xml += &validity(&name, verdict);
    for judged in &verdict.judged {
        xml += &case(&name, judged);
    }
    xml + "</testsuite>\n</testsuites>\n"
}

/// Whether the run as a whole can be judged is a separate test case: an incomplete journal must not pass.
fn validity(name: &str, verdict: &Verdict) -> String {
    let case = format!("<testcase classname=\"{name}\" name=\"the run can be judged\"");
    match verdict.invalid.first() {
        None => format!("{case}/>\n"),
        Some(first) => format!(
            "{case}>\n<error message=\"{}\">{}</error>\n</testcase>\n",
            escape(first),
            escape(&verdict.invalid.join("\n"))
        ),
    }
}

fn case(name: &str, judged: &Judged) -> String {
    let case = format!(
        "<testcase classname=\"{name}.{}\" name=\"{}\"",
        escape(&judged.arm),
        escape(&format!("{} [{}, {} {}]", judged.says, judged.window, judged.measure, judged.limit))
    );
    let why = escape(&judged.why);
    match judged.outcome {
        Outcome::Held => format!("{case}>\n<system-out>{}</system-out>\n</testcase>\n", escape(&words::figure(judged))),
        Outcome::Deviated => format!("{case}>\n<failure message=\"{why}\"/>\n</testcase>\n"),
        Outcome::Invalid => format!("{case}>\n<error message=\"{why}\"/>\n</testcase>\n"),
        Outcome::Skipped => format!("{case}>\n<skipped message=\"{why}\"/>\n</testcase>\n"),
    }
}

/// XML cannot represent most control characters.
fn escape(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    loadgen::charts::escape(&text).replace('\n', "&#10;")
}
