//! The guided lessons: their experiments, the order, and the target.

mod certificate;

use crate::{
    experiment::{About, Arm, Experiment, LoadPlan, Scale, Shape, WHOLE},
    hypothesis::{Bound, Hypothesis, Measure},
};

pub use self::certificate::{Certificate, Step};

/// A lesson.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    pub name: &'static str,
    pub title: &'static str,
    /// The number of its source.
    pub seed: &'static str,
    pub brief: &'static str,
    /// In this order.
    pub experiments: &'static [&'static str],
    /// The target, in the words of the lesson.
    pub target: &'static str,
    /// The experiment that judges the target: one of the list, or a separate one.
    pub judged_by: JudgedBy,
}

/// The experiment that judges the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgedBy {
    /// By an experiment of the lesson.
    Listed(&'static str),
    /// By [`whole_system`].
    WholeSystem,
}

/// All lessons.
pub const LESSONS: [Lesson; 2] = [
    Lesson {
        name: "your-first-system",
        title: "Your First System",
        seed: "000",
        brief: "A client sends a request, a server processes it, a database stores the data. You run the three tiers, \
                break each of them in turn, and see what under-provisioning, a starved database and a single point of \
                failure mean to clients.",
        experiments: &["scale-out", "underpowered", "connection-starvation", "single-instance-crash", "phases"],
        target: "All parts are connected, the API has two or more instances, and 95 % of the requests succeed.",
        judged_by: JudgedBy::WholeSystem,
    },
    Lesson {
        name: "incident-response",
        title: "Incident Response",
        seed: "002",
        brief: "Architecture is one half; incidents are the other. You restart a fleet under load, triage a leak, and \
                live through a day with incidents that ends in a post-mortem.",
        experiments: &["rolling-restart", "memory-leak", "incident-day"],
        target: "The contract: uptime 95 %, p95 320 ms, 760 $ a month.",
        judged_by: JudgedBy::Listed("incident-day"),
    },
];

impl Lesson {
    /// The lesson of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        LESSONS.iter().find(|lesson| lesson.name == name)
    }
}

/// The target of the first lesson as an experiment: nothing is broken, and everything has to be connected.
#[must_use]
pub fn whole_system(scale: Scale) -> Experiment {
    let arm = "the system";
    let hypothesis = |says: &str, measure, least| Hypothesis::new(says, arm, WHOLE, measure, Bound::at_least(least));
    let up = |dependency: &str| Measure::MetricHighest(format!("dependency_up{{dependency=\"{dependency}\"}}"));
    Experiment {
        about: About {
            name: "first-system".to_owned(),
            question: "Are all parts connected, and do 95 % of the requests succeed?".to_owned(),
            seed: "000".to_owned(),
            says: "All components are connected, the API server has 2+ instances, and 95%+ of the requests succeed."
                .to_owned(),
            ..About::default()
        },
        arms: vec![Arm {
            alerts: None,
            name: arm.to_owned(),
            stack: Shape::default(),
            prepare: Vec::new(),
            load: Some(LoadPlan::rate(100.0, scale.seconds(5, 20))),
            probes: Vec::new(),
            steps: Vec::new(),
            windows: Vec::new(),
            gate: crate::experiment::Gate::Steady,
        }],
        hypotheses: vec![
            hypothesis("the replicas reach Postgres", up("postgres"), 1.0),
            hypothesis("and Redis", up("redis"), 1.0),
            hypothesis("two or more instances answer", Measure::Instances, 2.0),
            hypothesis("95 % of the requests succeed", Measure::Success, 95.0),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments;

    #[test]
    fn every_lesson_has_experiments_that_exist() {
        whole_system(Scale::Quick).check().unwrap();
        for lesson in LESSONS {
            for name in lesson.experiments {
                let experiment = experiments::named(name, Scale::Quick, 1);
                let experiment = experiment.unwrap_or_else(|| panic!("{}: there is no {name}", lesson.name));
                assert!(experiment.about.lesson.is_empty() || experiment.about.lesson == lesson.name, "{name}");
            }
        }
    }
}
