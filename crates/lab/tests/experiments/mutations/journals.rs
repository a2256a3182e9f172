//! A journal of an experiment in a world in which everything goes one way.

use std::{collections::BTreeMap, time::Duration};

use lab::{
    experiment::{Action, Arm, Expect, Experiment, ProbePlan, Scale},
    hypothesis::{Hypothesis, Measure},
    journal::{Begin, Ending, Entry, Journal, ProbeAnswer, Requests, SCHEMA},
};
use loadgen::Machine;
use stack::DriverKind;
use time::OffsetDateTime;

use super::reports;

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) report: &'static str,
    pub(super) answering: Answering,
    pub(super) counting: Counting,
    pub(super) replicas: Option<u32>,
    /// That of the other cases, where it is another one.
    pub(super) other: Option<Box<World>>,
}

impl Default for World {
    fn default() -> Self {
        Self { report: "good", answering: Answering::AsExpected, counting: Counting(0.0), replicas: None, other: None }
    }
}

/// What probes get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    AsExpected,
    /// Something else, late, of another record, and older each time.
    Otherwise,
    /// As expected, but not until three seconds after the return.
    Late,
}

/// By how much series grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting(pub(super) f64);

/// Times of the load, in s from the start.
const UNDO: f64 = 2.6;
const UNDONE: f64 = 2.65;
const RECOVERED: f64 = 2.7;
const END: f64 = 3.0;
/// Until when probes ask, and how late the late ones are.
const PROBED: f64 = 8.0;
const LATE: f64 = 3.0;

pub(super) fn at(seconds: f64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_secs_f64(1_000.0 + seconds)
}

pub(super) fn journal(experiment: &Experiment, judged: &Hypothesis, world: &World) -> Journal {
    let mut experiment = experiment.clone();
    if let Some(replicas) = world.replicas {
        experiment.arms.iter_mut().for_each(|arm| arm.stack.replicas = replicas);
    }
    let mut entries = vec![Entry::Begin(Box::new(begin(&experiment)))];
    for arm in &experiment.arms {
        let world = world.other.as_ref().filter(|_| arm.name != judged.arm).map_or(world, |other| &**other);
        entries.extend(entries_of(arm, judged, world));
    }
    entries.push(Entry::End { ending: Ending::Complete, at: at(PROBED) });
    Journal { entries, is_cut: false }
}

fn begin(experiment: &Experiment) -> Begin {
    Begin {
        schema: SCHEMA.to_owned(),
        version: "0".to_owned(),
        at: at(0.0),
        command: "lab run".to_owned(),
        machine: Machine { cores: 64, ..Machine::default() },
        driver: DriverKind::Process,
        build: String::new(),
        scale: Scale::Quick,
        seed: 1,
        repeats: 1,
        allowance: 0.0,
        experiment: experiment.clone(),
    }
}

fn entries_of(arm: &Arm, judged: &Hypothesis, world: &World) -> Vec<Entry> {
    let mut entries = vec![
        Entry::Arm { arm: arm.name.clone(), repeat: 1, at: at(0.0) },
        Entry::Start { at: at(0.0) },
        Entry::Gate { passed: true, saw: String::new() },
    ];
    let marks = marks(arm).into_iter().map(|(name, time)| Entry::Mark { name, at: at(time * pace(arm)) });
    entries.extend(marks);
    entries.extend(metrics(judged, world));
    for probe in &arm.probes {
        let answers = answers(probe, judged, world.answering, pace(arm));
        entries.push(Entry::Probe { probe: probe.name.clone(), answers });
    }
    if arm.load.is_some() {
        let report = Box::new(reports::report(world.report));
        entries.push(Entry::Load { report, requests: Requests::default() });
    }
    entries.push(Entry::ArmEnd { at: at(PROBED) });
    entries
}

/// Without a load the reports set no time: steps are far apart, so that slow answers fit between them.
fn pace(arm: &Arm) -> f64 {
    if arm.load.is_some() { 1.0 } else { 10.0 }
}

/// The steps in their order, evenly over the time before the undoing.
fn marks(arm: &Arm) -> Vec<(String, f64)> {
    let mut marks = vec![
        ("order".to_owned(), 0.31),
        ("effect".to_owned(), 0.32),
        ("undo".to_owned(), UNDO),
        ("undone".to_owned(), UNDONE),
        ("recovered".to_owned(), RECOVERED),
        ("end".to_owned(), END),
    ];
    let count = arm.steps.len().max(1) as f64;
    let mut words: BTreeMap<String, u32> = BTreeMap::new();
    for (place, step) in arm.steps.iter().enumerate() {
        let asked = 0.3 + 1.9 * place as f64 / count;
        let done = asked + 1.8 / count;
        let name = if step.name.is_empty() { unnamed(&step.action, &mut words) } else { step.name.clone() };
        marks.push((format!("{name}.asked"), asked));
        marks.push((format!("{name}.done"), done));
        if let Action::Mark(mark) = &step.action {
            marks.push((mark.clone(), asked));
        }
    }
    marks
}

/// No window of the list is bounded by a step without a name; that it has one is enough.
fn unnamed(action: &Action, words: &mut BTreeMap<String, u32>) -> String {
    let word = action.to_string();
    let count = words.entry(word.clone()).or_default();
    *count += 1;
    format!("{word} {count}")
}

/// The series that the hypothesis asks for, at the beginning and at the end.
fn metrics(judged: &Hypothesis, world: &World) -> Vec<Entry> {
    let measure = if let Measure::Ratio { measure, .. } = &judged.measure { measure } else { &judged.measure };
    let (Measure::Metric(series) | Measure::MetricOfOneReplica(series) | Measure::MetricHighest(series)) = measure
    else {
        return Vec::new();
    };
    let reading = |time: f64, value: f64| {
        let values = BTreeMap::from([("api-1".to_owned(), BTreeMap::from([(series.clone(), value)]))]);
        Entry::Metrics { at: at(time), replicas: values }
    };
    if matches!(measure, Measure::MetricHighest(_)) {
        return (0..300).map(|step| reading(f64::from(step) / 10.0, world.counting.0)).collect();
    }
    vec![reading(0.0, 5.0), reading(PROBED * 10.0, 5.0 + world.counting.0)]
}

fn answers(probe: &ProbePlan, judged: &Hypothesis, answering: Answering, pace: f64) -> Vec<ProbeAnswer> {
    let expect = match &judged.measure {
        Measure::Unexpected { probe: name, expect } if *name == probe.name => expect,
        _ => &probe.good,
    };
    let is_writer = matches!(&judged.measure, Measure::Behind { writer, .. } if *writer == probe.name);
    let every = 10.0 * pace;
    let count = (PROBED * pace * 1e3 / every) as i64;
    (0..count)
        .map(|number| {
            let at = number as f64 * every;
            let expected = ProbeAnswer { at, version: Some(1_000 + number / 10), ..as_expected(expect) };
            let is_late = answering == Answering::Late && at < (UNDONE * pace + LATE) * 1e3;
            match answering {
                // A writer gets the answer to its own write in every world.
                _ if is_writer => ProbeAnswer { version: Some(1_000 + number / 10 - 1), ..expected },
                Answering::Otherwise => otherwise(at, number),
                Answering::Late if is_late => otherwise(at, number),
                Answering::AsExpected | Answering::Late => expected,
            }
        })
        .collect()
}

fn as_expected(expect: &Expect) -> ProbeAnswer {
    let first = |all: &[String]| all.first().cloned().unwrap_or_default();
    ProbeAnswer {
        took: 1.0,
        status: expect.status.first().copied().unwrap_or(200),
        cache: first(&expect.cache),
        code: first(&expect.code),
        redis: Some(0.1),
        ..ProbeAnswer::default()
    }
}

fn otherwise(at: f64, number: i64) -> ProbeAnswer {
    ProbeAnswer {
        at,
        took: 400.0,
        status: 299,
        redis: Some(500.0),
        version: Some(500 - number),
        wrong: true,
        ..ProbeAnswer::default()
    }
}
