//! The post-mortem in words.

use std::fmt::Write as _;

use super::{ArmStory, Incident, Postmortem};
use crate::{
    journal::Run,
    report::{windows, words},
    verdict::{Outcome, Verdict},
};

/// The columns of the table of incidents.
pub(in crate::report) const HEAD: [&str; 8] =
    ["at", "incident", "noticed after", "by", "all well after", "of that, repair", "requests failed", "users hit"];

/// Further incidents are summarised in one line.
pub(in crate::report) const MOST_INCIDENTS: usize = 40;

impl Incident<'_> {
    /// The columns of [`HEAD`].
    pub(in crate::report) fn cells(&self) -> [String; 8] {
        let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), words::lasting);
        let alerts =
            self.alerted.iter().map(|(after, alert)| format!("alert {alert} after {}", words::lasting(*after)));
        let by: Vec<String> = self.noticed.iter().map(|(_, by)| (*by).to_owned()).chain(alerts).collect();
        let by = if by.is_empty() { "nothing".to_owned() } else { by.join("; ") };
        [
            words::at(self.begin()),
            self.what(),
            time(self.noticed.map(|(after, _)| after)),
            by,
            time(self.recovered),
            if self.is_fault() { time(self.repair()) } else { "–".to_owned() },
            format!("{} of {}", words::count(self.failed), words::count(self.sent)),
            self.users.map_or_else(|| "–".to_owned(), |users| words::count(users.round() as u64)),
        ]
    }
}

impl ArmStory<'_> {
    /// Name, value and a remark of each figure.
    pub(in crate::report) fn figures(&self) -> Vec<(&'static str, String, String)> {
        let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), words::lasting);
        let percent = |value: f64, digits| format!("{} %", words::trimmed(value, digits));
        let budget = 100.0 - self.target;
        let mut figures = vec![
            ("failed requests", words::count(self.failed), format!("of {}", words::count(self.sent))),
            (
                "success",
                format!("{} %", windows::share(self.sent - self.failed, self.sent)),
                "of all requests".to_owned(),
            ),
        ];
        if let Some(availability) = self.availability {
            figures.push(("availability", percent(availability, 1), "seconds in which 95 % succeeded".to_owned()));
        }
        figures.extend([
            ("error budget spent", percent(self.spent, 1), format!("{} of the requests may fail", percent(budget, 2))),
            ("burn rate", format!("{}×", words::trimmed(self.spent / 100.0, 2)), "1× spends it exactly".to_owned()),
            ("MTTD", time(self.mttd), "fault to first bad answer, mean".to_owned()),
            ("MTTR", time(self.mttr), "fault to recovery, mean of those noticed".to_owned()),
        ]);
        if self.alerted.is_some() {
            figures.push(("alerted after", time(self.alerted), "fault to first alert, mean".to_owned()));
        }
        if self.mtbf.is_some() {
            figures.push(("MTBF", time(self.mtbf), "fault to fault, mean".to_owned()));
        }
        if self.outside > 0 {
            figures.push(("failures outside", words::count(self.outside), "of all incidents".to_owned()));
        }
        figures
    }

    /// How the alerts were timed, or why none was raised.
    pub(in crate::report) fn alerts_notes(&self) -> impl Iterator<Item = &str> {
        self.arm.notes.iter().copied().filter(|_| self.arm.arm.alerts.is_some())
    }

    /// How users become requests, where the plan says so.
    pub(in crate::report) fn users_note(&self) -> Option<String> {
        let per_user = self.arm.arm.load.as_ref()?.per_user?;
        Some(format!(
            "A user makes a request every {}; of the failures in an incident each falls on any of the users who were there.",
            words::lasting(1.0 / per_user.max(1e-9))
        ))
    }
}

/// What held, or did not.
pub(in crate::report) fn hypotheses(verdict: &Verdict, held: bool) -> Vec<String> {
    let fits = |outcome: Outcome| match outcome {
        Outcome::Held => held,
        Outcome::Deviated | Outcome::Invalid => !held,
        Outcome::Skipped => false,
    };
    let chosen = verdict.judged.iter().filter(|judged| fits(judged.outcome));
    chosen
        .map(|judged| format!("{} ({}): {}", words::capital(&judged.says), judged.arm, words::figure(judged)))
        .collect()
}

impl Postmortem<'_> {
    /// Without a first-level heading, because it is both a part of the report and a separate file.
    pub(in crate::report) fn markdown(&self, run: &Run<'_>, verdict: &Verdict) -> String {
        let about = &run.begin.experiment.about;
        let mut text = format!("## Post-mortem: {}\n\n{}\n", about.name, about.question);
        for story in &self.arms {
            let repeat = if run.begin.repeats > 1 { format!(", run {}", story.arm.repeat) } else { String::new() };
            let _infallible = write!(text, "\n### {}{repeat}\n\n", story.arm.arm.name);
            for (name, value, note) in story.figures() {
                let _infallible = writeln!(text, "- {name}: {value} ({note})");
            }
            let _infallible = write!(text, "\n| {} |\n|{}\n", HEAD.join(" | "), " --- |".repeat(HEAD.len()));
            for incident in story.incidents.iter().take(MOST_INCIDENTS) {
                let _infallible =
                    writeln!(text, "| {} |", incident.cells().map(|cell| cell.replace('|', "\\|")).join(" | "));
            }
            if story.incidents.len() > MOST_INCIDENTS {
                let rest = &story.incidents[MOST_INCIDENTS..];
                let failed = rest.iter().map(|incident| incident.failed).sum();
                let _infallible =
                    write!(text, "\n{} more, in which {} requests failed.\n", rest.len(), words::count(failed));
            }
            if let Some(note) = story.users_note() {
                let _infallible = write!(text, "\n{note}\n");
            }
            for note in story.alerts_notes() {
                let _infallible = write!(text, "\n{note}.\n");
            }
        }
        for (title, held) in [("What held", true), ("What did not hold", false)] {
            let list = hypotheses(verdict, held);
            let _infallible = write!(text, "\n### {title}\n\n");
            if list.is_empty() {
                text += "Nothing.\n";
            }
            for line in list {
                let _infallible = writeln!(text, "- {line}");
            }
        }
        if !about.change.is_empty() {
            let _infallible = write!(text, "\n### What to change\n\n{}\n", about.change);
        }
        text
    }
}
