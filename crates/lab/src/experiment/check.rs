//! Validates an experiment before anything is started.

use std::{collections::BTreeSet, fmt, time::Duration};

use super::{AFTER, Action, Arm, BEFORE, Condition, DURING, Experiment, Pace, WHOLE};
use crate::hypothesis::{Answers, Measure};

/// Everything that is wrong with an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub Vec<String>);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Marks that every arm can have.
const MARKS: [&str; 6] = ["start", "end", "order", "effect", "undo", "undone"];
const RECOVERED: &str = "recovered";
/// Longer than any practical run.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// The number of arms that fits on a page.
const MOST_ARMS: usize = 64;

impl Experiment {
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<(), Unfit> {
        let mut faults = Vec::new();
        if !is_name(&self.about.name) {
            faults.push(format!(
                "about.name: `{}` is no name: lower-case letters, digits and hyphens, at most 60",
                self.about.name
            ));
        }
        if self.about.question.trim().is_empty() {
            faults.push("about.question: what is asked?".to_owned());
        }
        if self.arms.is_empty() {
            faults.push("arm: there has to be one at least".to_owned());
        }
        if self.arms.len() > MOST_ARMS {
            faults.push(format!("arm: {} are more than {MOST_ARMS}", self.arms.len()));
        }
        if self.hypotheses.is_empty() {
            faults.push("hypothesis: there has to be one at least, or there is nothing to judge".to_owned());
        }
        let mut names = BTreeSet::new();
        for arm in &self.arms {
            if !names.insert(&arm.name) {
                faults.push(format!("arm {}: there are two of this name", arm.name));
            }
            faults.extend(arm.faults().into_iter().map(|fault| format!("arm {}: {fault}", arm.name)));
            if let Some(Pace::Times { of, .. }) = arm.load.as_ref().map(|load| &load.pace)
                && !names.contains(of)
            {
                faults.push(format!("arm {}: its pace is a multiple of `{of}`, which is no earlier arm", arm.name));
            }
        }
        for (number, hypothesis) in (1..).zip(&self.hypotheses) {
            let name = format!("hypothesis {number} ({})", hypothesis.says);
            self.check_place(&name, &hypothesis.arm, &hypothesis.window, &hypothesis.measure, &mut faults);
            if hypothesis.bound.at_least.is_none() && hypothesis.bound.at_most.is_none() {
                faults.push(format!("{name}: no bound; at_least, at_most or both"));
            }
        }
        for figure in &self.about.figures {
            self.check_place(
                &format!("figure ({})", figure.what),
                &figure.arm,
                &figure.window,
                &figure.measure,
                &mut faults,
            );
        }
        if faults.is_empty() { Ok(()) } else { Err(Unfit(faults)) }
    }

    fn check_place(&self, name: &str, arm: &str, window: &str, measure: &Measure, faults: &mut Vec<String>) {
        let Some(arm) = self.arms.iter().find(|known| known.name == arm) else {
            faults.push(format!("{name}: there is no arm `{arm}`"));
            return;
        };
        if !arm.has_window(window) {
            faults.push(format!("{name}: the arm {} has no window `{window}`", arm.name));
        }
        match measure {
            Measure::Ratio { measure, to_arm, to_window } => {
                self.check_place(name, to_arm, to_window, measure, faults);
                self.check_place(name, &arm.name, window, measure, faults);
            }
            Measure::Detect(probe)
            | Measure::Recover(probe)
            | Measure::ProbeAnswers(probe)
            | Measure::WrongOrOlder(probe)
            | Measure::Unexpected { probe, .. }
            | Measure::Slowest { probe, .. }
            | Measure::Median { probe, .. } => {
                if !arm.probes.iter().any(|known| known.name == *probe) {
                    faults.push(format!("{name}: the arm {} has no probe `{probe}`", arm.name));
                }
            }
            Measure::Behind { probe, writer } => {
                for wanted in [probe, writer] {
                    if !arm.probes.iter().any(|known| known.name == *wanted) {
                        faults.push(format!("{name}: the arm {} has no probe `{wanted}`", arm.name));
                    }
                }
            }
            Measure::Success
            | Measure::Failures
            | Measure::Goodput
            | Measure::Instances
            | Measure::Status(_)
            | Measure::KindFailures(_)
            | Measure::Latency { .. }
            | Measure::KindLatency { .. }
            | Measure::Availability => {
                if arm.load.is_none() {
                    faults.push(format!("{name}: the arm {} has no load to measure", arm.name));
                }
            }
            Measure::Metric(_)
            | Measure::MetricOfOneReplica(_)
            | Measure::MetricHighest(_)
            | Measure::PricePerMonth => {}
        }
        if let Measure::KindFailures(kind) | Measure::KindLatency { kind, .. } = measure
            && let Some(load) = &arm.load
            && !load.requests.iter().any(|request| request.name.as_ref() == Some(kind))
        {
            faults.push(format!("{name}: the load of the arm {} has no request `{kind}`", arm.name));
        }
        if let Measure::KindLatency { of: Answers::All, .. } = measure {
            faults.push(format!("{name}: of one kind of request there are good and bad latencies, not both in one"));
        }
        if let Measure::Latency { percentile, .. } | Measure::KindLatency { percentile, .. } = measure
            && ![50.0, 90.0, 95.0, 99.0, 99.9, 100.0].contains(percentile)
        {
            faults.push(format!("{name}: percentiles are 50, 90, 95, 99, 99.9 and 100, not {percentile}"));
        }
    }
}

impl Arm {
    fn has_window(&self, name: &str) -> bool {
        [WHOLE, BEFORE, DURING, AFTER].contains(&name) || self.windows.iter().any(|window| window.name == name)
    }

    /// The name of a step in marks and in the journal.
    pub(crate) fn step_name(&self, place: usize) -> String {
        let step = &self.steps[place];
        if !step.name.is_empty() {
            return step.name.clone();
        }
        let base = step.action.word();
        let earlier = self.steps[..place].iter().filter(|step| step.name.is_empty() && step.action.word() == base);
        match earlier.count() {
            0 => base.to_owned(),
            count => format!("{base}-{}", count + 1),
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.load.is_none() && self.probes.is_empty() {
            faults.push("neither load nor probe: nothing would be measured".to_owned());
        }
        if !(1..=16).contains(&self.stack.replicas) {
            faults.push(format!("a stack has 1 to 16 replicas, not {}", self.stack.replicas));
        }
        if let Some(load) = &self.load {
            if load.lasts.is_zero() || load.lasts > LONGEST {
                faults.push("load: it lasts between 1 ms and 24 h".to_owned());
            } else if let Err(fault) = load.plan("http://127.0.0.1:80", 1, Duration::from_secs(1), |_| Some(1.0)) {
                faults.push(format!("load: {fault}"));
            }
        }
        if let Some(load) = &self.load {
            let late = self.steps.iter().find(|step| step.at >= load.lasts);
            faults.extend(late.map(|step| format!("step {}: it begins when the load is over", step.action.word())));
        }
        faults.extend(self.mark_faults());
        faults
    }

    fn mark_faults(&self) -> Vec<String> {
        let mut marks: BTreeSet<String> = MARKS.iter().map(|mark| (*mark).to_owned()).collect();
        marks.insert(RECOVERED.to_owned());
        for (place, step) in self.steps.iter().enumerate() {
            let name = self.step_name(place);
            if !marks.insert(format!("{name}.asked")) {
                return vec![format!("step {name}: there are two of this name")];
            }
            marks.insert(format!("{name}.done"));
            if let Action::Mark(mark) = &step.action {
                marks.insert(mark.clone());
            }
        }
        let mut faults = Vec::new();
        if self.alerts.is_some_and(|alerts| alerts.day.is_zero()) {
            faults.push("alerts: a day has to last for some time".to_owned());
        }
        for window in &self.windows {
            for moment in [&window.from, &window.to] {
                if !marks.contains(&moment.mark) {
                    faults.push(format!("window {}: there is no mark `{}`", window.name, moment.mark));
                }
            }
        }
        for probe in &self.probes {
            for mark in [&probe.from, &probe.to] {
                if !mark.is_empty() && !marks.contains(mark) {
                    faults.push(format!("probe {}: there is no mark `{mark}`", probe.name));
                }
            }
        }
        for step in &self.steps {
            if let Action::Await(plan) = &step.action
                && let Condition::Answers { probe, .. } = &plan.until
                && !self.probes.iter().any(|known| known.name == *probe)
            {
                faults.push(format!("step await: there is no probe `{probe}`"));
            }
        }
        faults
    }
}

impl Action {
    /// The default name of a step.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Fault(plan) => plan.kind.name(),
            Self::Heal(_) => "heal",
            Self::Restart(_) => "restart",
            Self::Scale(_) => "scale",
            Self::Await(_) => "await",
            Self::Ask(_) => "ask",
            Self::Wait(_) => "wait",
            Self::Mark(_) => "mark",
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=60).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
