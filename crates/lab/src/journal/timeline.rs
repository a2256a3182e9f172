//! A journal in order: each arm with its marks, and all measurements in it, in seconds from its start.

use std::collections::BTreeMap;

use loadgen::{Point, Report};
use stack::{Healed, Injected, Target};
use time::OffsetDateTime;

use super::{Begin, Ending, Entry, Journal, ProbeAnswer, Requests};
use crate::{
    experiment::{AFTER, Arm, BEFORE, DURING, Moment, WHOLE},
    metrics::Reading,
};

/// A run, reconstructed from its journal.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    pub begin: &'a Begin,
    /// In the order in which they ran.
    pub arms: Vec<ArmRun<'a>>,
    /// `None`: the run was killed, or is still going on.
    pub ending: Option<&'a Ending>,
}

/// One run of one arm.
#[derive(Debug, Clone)]
pub struct ArmRun<'a> {
    pub arm: &'a Arm,
    pub repeat: u32,
    pub began: OffsetDateTime,
    /// When load and probes started, from which every time here counts. Without a start, when the arm began.
    pub start: OffsetDateTime,
    pub marks: Marks,
    /// Every mark in the order in which it was reached; with several faults `undo` and `recovered` occur several times.
    pub reached: Vec<(&'a str, f64)>,
    pub gate: Option<(bool, &'a str)>,
    /// The planned and executed actions: time, step and description, with the end if it took time.
    pub events: Vec<Event<'a>>,
    pub injected: Vec<(&'a str, &'a Injected)>,
    pub healed: Vec<(&'a str, &'a Healed)>,
    pub points: Vec<&'a Point>,
    pub probes: BTreeMap<&'a str, Vec<&'a ProbeAnswer>>,
    /// Samples of every series of every replica.
    pub metrics: Vec<(f64, Reading)>,
    pub servers: Vec<(f64, &'a BTreeMap<String, String>)>,
    pub load: Option<(&'a Report, &'a Requests)>,
    pub alerts: Vec<(f64, &'a str, &'a str)>,
    pub notes: Vec<&'a str>,
    /// Why it cannot be judged.
    pub invalid: Vec<String>,
    pub has_ended: bool,
    /// The last known value of every series.
    known: Reading,
}

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    pub step: &'a str,
    pub what: String,
    /// In seconds from the start of the arm.
    pub asked: f64,
    pub done: f64,
}

/// Named points in the time of an arm, in seconds from its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Marks(BTreeMap<String, f64>);

impl Marks {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, at)| (name.as_str(), *at))
    }

    fn moment(&self, moment: &Moment) -> Option<f64> {
        Some(self.get(&moment.mark)? + moment.offset_ms as f64 / 1e3)
    }
}

impl Journal {
    /// Assigns every event to its arm. `None` if the journal has no beginning.
    #[must_use]
    pub fn run(&self) -> Option<Run<'_>> {
        let Some(Entry::Begin(begin)) = self.entries.first() else { return None };
        let mut run = Run { begin, arms: Vec::new(), ending: None };
        for entry in &self.entries[1..] {
            match entry {
                Entry::Arm { arm, repeat, at } => {
                    if let Some(arm) = begin.experiment.arms.iter().find(|known| known.name == *arm) {
                        let known = run.arms.last_mut().map(|last| std::mem::take(&mut last.known)).unwrap_or_default();
                        run.arms.push(ArmRun { known, ..ArmRun::new(arm, *repeat, *at) });
                    }
                }
                Entry::End { ending, .. } => run.ending = Some(ending),
                other => {
                    if let Some(arm) = run.arms.last_mut() {
                        arm.add(other);
                    }
                }
            }
        }
        Some(run)
    }
}

impl<'a> Run<'a> {
    /// The runs of one arm, one for each repetition.
    pub fn of_arm<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b ArmRun<'a>> {
        self.arms.iter().filter(move |run| run.arm.name == name)
    }
}

impl<'a> ArmRun<'a> {
    fn new(arm: &'a Arm, repeat: u32, began: OffsetDateTime) -> Self {
        Self {
            arm,
            repeat,
            began,
            start: began,
            marks: Marks::default(),
            reached: Vec::new(),
            gate: None,
            events: Vec::new(),
            injected: Vec::new(),
            healed: Vec::new(),
            points: Vec::new(),
            probes: BTreeMap::new(),
            metrics: Vec::new(),
            servers: Vec::new(),
            load: None,
            alerts: Vec::new(),
            notes: Vec::new(),
            invalid: Vec::new(),
            has_ended: false,
            known: Reading::new(),
        }
    }

    fn add(&mut self, entry: &'a Entry) {
        match entry {
            Entry::Begin(_) | Entry::Arm { .. } | Entry::End { .. } | Entry::Intent { .. } => {}
            Entry::Start { at } => {
                self.start = *at;
                self.marks.0.insert("start".to_owned(), 0.0);
            }
            Entry::Gate { passed, saw } => self.gate = Some((*passed, saw)),
            Entry::Injected { step, fault } => {
                let (asked, done) = (self.seconds(fault.asked_at), self.seconds(fault.took_effect_at));
                self.events.push(Event { step, what: format!("{} {}", fault.kind, fault.target), asked, done });
                self.injected.push((step, fault));
            }
            Entry::Healed { step, healed } => {
                let (asked, done) = (self.seconds(healed.asked_at), self.seconds(healed.answered_at));
                self.events.push(Event { step, what: format!("heal {}", healed.target), asked, done });
                self.healed.push((step, healed));
            }
            Entry::Done { step, what, asked_at, done_at } => {
                let (asked, done) = (self.seconds(*asked_at), self.seconds(*done_at));
                self.events.push(Event { step, what: what.clone(), asked, done });
            }
            Entry::Mark { name, at } => {
                let at = self.seconds(*at);
                self.reached.push((name, at));
                self.marks.0.insert(name.clone(), at);
            }
            Entry::Metrics { at, replicas } => {
                let at = self.seconds(*at);
                // The journal has only the changes.
                for (replica, series) in replicas {
                    self.known.entry(replica.clone()).or_default().extend(series.clone());
                }
                let mut all = self.known.clone();
                all.retain(|replica, _| replicas.contains_key(replica));
                self.metrics.push((at, all));
            }
            Entry::Point { point } => self.points.push(point),
            Entry::Probe { probe, answers } => self.probes.entry(probe).or_default().extend(answers),
            Entry::Servers { at, states } => {
                let at = self.seconds(*at);
                self.servers.push((at, states));
            }
            Entry::Load { report, requests } => self.load = Some((report, requests)),
            Entry::Alert { name, state, at } => {
                let at = self.seconds(*at);
                self.alerts.push((at, name, state));
            }
            Entry::Note { text } => self.notes.push(text),
            Entry::Invalid { why } => self.invalid.push(why.clone()),
            Entry::ArmEnd { .. } => self.has_ended = true,
        }
    }

    /// A time of day as seconds from the start of the arm.
    #[must_use]
    pub fn seconds(&self, at: OffsetDateTime) -> f64 {
        (at - self.start).as_seconds_f64()
    }

    /// The bounds of a window, in seconds from the start.
    ///
    /// # Errors
    /// A mark was not reached, or there is no window of this name.
    pub fn window(&self, name: &str) -> Result<(f64, f64), String> {
        let own = self.arm.windows.iter().find(|window| window.name == name);
        let (from, to) = match (own, name) {
            (Some(window), _) => (window.from.clone(), window.to.clone()),
            (None, WHOLE) => (Moment::at("start"), Moment::at("end")),
            (None, BEFORE) => (Moment::at("start"), Moment::at("order")),
            (None, DURING) => (Moment::at("effect"), Moment::at("undo")),
            (None, AFTER) => (Moment::at("recovered"), Moment::at("end")),
            (None, _) => return Err(format!("the arm {} has no window {name}", self.arm.name)),
        };
        let reached =
            |moment: &Moment| self.marks.moment(moment).ok_or_else(|| format!("`{}` was not reached", moment.mark));
        let (from, to) = (reached(&from)?, reached(&to)?);
        if to > from { Ok((from, to)) } else { Err(format!("the window {name} is empty")) }
    }

    /// When faults of a server began to be ordered, and when they were undone, in seconds from the start.
    #[must_use]
    pub fn disturbances(&self, target: Target) -> Vec<(f64, f64)> {
        let of_target = self.injected.iter().filter(|(_, fault)| fault.target == target);
        let undone = |asked: f64| {
            let healed = self.healed.iter().filter(|(_, healed)| healed.target == target);
            let mut ends = healed.map(|(_, healed)| self.seconds(healed.answered_at)).filter(|end| *end > asked);
            ends.next().unwrap_or(f64::INFINITY)
        };
        of_target.map(|(_, fault)| self.seconds(fault.asked_at)).map(|asked| (asked, undone(asked))).collect()
    }

    /// The answers of a probe to requests in a window.
    pub fn answers(&self, probe: &str, (from, to): (f64, f64)) -> impl Iterator<Item = &'a ProbeAnswer> {
        let all = self.probes.get(probe).map(Vec::as_slice).unwrap_or_default();
        all.iter().copied().filter(move |answer| (from..to).contains(&(answer.at / 1e3)))
    }
}
