//! The data of a run that its page needs: the verdict and the figures, without the journal.

use loadgen::Machine;
use serde::{Deserialize, Serialize};
use stack::DriverKind;
use time::OffsetDateTime;

use crate::{
    experiment::Scale,
    hypothesis::Hypothesis,
    journal::Run,
    verdict::{self, Judged, Outcome, number},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub machine: Machine,
    pub driver: DriverKind,
    pub scale: Scale,
    pub seed: u64,
    pub allowance: f64,
    pub outcome: Outcome,
    pub invalid: Vec<String>,
    pub judged: Vec<Judged>,
    pub figures: Vec<FigureSeen>,
}

/// A figure of the source, as measured here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureSeen {
    pub what: String,
    /// With its unit; or the reason why there is none.
    pub here: String,
}

impl Recorded {
    /// A pure function of the journal.
    #[must_use]
    pub fn from_run(run: &Run<'_>) -> Self {
        let begin = run.begin;
        let verdict = verdict::judge(run);
        let figures = begin.experiment.about.figures.iter().map(|figure| {
            let arm = run.of_arm(&figure.arm).next();
            let observed = arm.map(|arm| verdict::observe(run, arm, &figure.window, &figure.measure));
            let here = match observed {
                Some(Ok(observed)) => {
                    format!("{} {}", number(observed.value), figure.measure.unit()).trim_end().to_owned()
                }
                Some(Err(why)) => why,
                None => "its case did not run".to_owned(),
            };
            FigureSeen { what: figure.what.clone(), here }
        });
        Self {
            at: begin.at,
            // The name of the machine is not relevant for the measurement.
            machine: Machine { host: String::new(), ..begin.machine.clone() },
            driver: begin.driver,
            scale: begin.scale,
            seed: begin.seed,
            allowance: begin.allowance,
            outcome: verdict.outcome,
            invalid: verdict.invalid,
            judged: verdict.judged,
            figures: figures.collect(),
        }
    }

    /// The result of a hypothesis. `None` if the hypothesis has changed since the run.
    pub(super) fn of(&self, place: usize, hypothesis: &Hypothesis) -> Option<&Judged> {
        self.judged.get(place).filter(|judged| {
            (judged.says.as_str(), judged.arm.as_str(), judged.measure.as_str())
                == (&*hypothesis.says, &*hypothesis.arm, &*hypothesis.measure.name())
        })
    }

    pub(super) fn day(&self) -> String {
        self.at.date().to_string()
    }
}
