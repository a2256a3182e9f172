//! The post-mortem: what happened, its impact, the times to detect and to recover, and what follows.
//!
//! It is made from any run that broke something under load. Requests are counted in the load's own record. The time to
//! detect is from the effect of a fault to the first answer of a probe or of the load that is not good. The time to
//! recover is from the effect to the first time after the repair at which every probe has good answers.

mod text;

pub(super) use self::text::{HEAD, MOST_INCIDENTS, hypotheses};

use crate::{
    experiment::WHOLE,
    hypothesis::Measure,
    journal::{ArmRun, Run},
    report::bands::{self, Band},
    verdict,
};

/// The uptime of the contract, in %: the rest is the error budget.
const TARGET: f64 = 95.0;
/// What detects an incident besides the probes.
const LOAD: &str = "load";
/// Shorter than any step, in s.
const HAIR: f64 = 1e-6;

/// Every arm that was broken under load.
pub(super) struct Postmortem<'a> {
    pub(super) arms: Vec<ArmStory<'a>>,
}

/// The post-mortem of one arm.
pub(super) struct ArmStory<'a> {
    pub(super) arm: &'a ArmRun<'a>,
    pub(super) incidents: Vec<Incident<'a>>,
    pub(super) sent: u64,
    pub(super) failed: u64,
    /// Of the seconds, in %.
    pub(super) availability: Option<f64>,
    /// Of the requests, in %.
    pub(super) target: f64,
    /// The share of the error budget that was used, in %.
    pub(super) spent: f64,
    pub(super) mttd: Option<f64>,
    pub(super) mttr: Option<f64>,
    /// From the effect to the first alert that fired.
    pub(super) alerted: Option<f64>,
    /// From the begin of one fault to the begin of the next.
    pub(super) mtbf: Option<f64>,
    /// Failures outside any incident.
    pub(super) outside: u64,
}

/// A fault, or several overlapping ones; or a change of the replicas.
pub(super) struct Incident<'a> {
    pub(super) bands: Vec<Band<'a>>,
    pub(super) sent: u64,
    pub(super) failed: u64,
    /// The approximate number of users with at least one failure, if the plan relates users to requests.
    pub(super) users: Option<f64>,
    /// The time from the effect to the first answer that is not good, in s, and its source: a probe or the load.
    pub(super) noticed: Option<(f64, &'a str)>,
    /// The alerts that fired, and how long after the effect, in s.
    pub(super) alerted: Vec<(f64, &'a str)>,
    /// From the effect until all is well, in s.
    pub(super) recovered: Option<f64>,
}

impl Incident<'_> {
    pub(super) fn what(&self) -> String {
        self.bands.iter().map(|band| band.what.clone()).collect::<Vec<_>>().join(" and ")
    }

    pub(super) fn is_fault(&self) -> bool {
        self.bands.iter().any(|band| band.is_fault)
    }

    pub(super) fn begin(&self) -> f64 {
        self.bands.iter().map(|band| band.ordered).fold(f64::INFINITY, f64::min)
    }

    pub(super) fn effect(&self) -> f64 {
        self.bands.iter().map(|band| band.effect).fold(f64::INFINITY, f64::min)
    }

    /// The time from the begin of the repair until everything is healthy.
    pub(super) fn repair(&self) -> Option<f64> {
        let undo = self.bands.iter().filter_map(|band| band.undo).fold(f64::INFINITY, f64::min);
        Some((self.effect() + self.recovered? - undo).max(0.0)).filter(|time| time.is_finite())
    }
}

impl<'a> Postmortem<'a> {
    /// `None` if nothing was broken under load.
    pub(super) fn of(run: &'a Run<'a>) -> Option<Self> {
        let arms: Vec<ArmStory<'a>> = run.arms.iter().filter_map(|arm| story(run, arm)).collect();
        arms.iter().any(|arm| arm.incidents.iter().any(Incident::is_fault)).then_some(Self { arms })
    }
}

fn story<'a>(run: &'a Run<'a>, arm: &'a ArmRun<'a>) -> Option<ArmStory<'a>> {
    let (report, _) = arm.load?;
    let bands = bands::all(arm);
    if bands.is_empty() {
        return None;
    }
    let mut incidents: Vec<Incident<'a>> = Vec::new();
    for band in bands {
        match incidents.last_mut() {
            // Faults that overlap are one incident; a change of the replicas is always a separate one.
            Some(last)
                if last.is_fault() && band.is_fault && last.bands.iter().any(|known| known.end() > band.ordered) =>
            {
                last.bands.push(band);
            }
            _ => incidents.push(Incident {
                bands: vec![band],
                sent: 0,
                failed: 0,
                users: None,
                noticed: None,
                alerted: Vec::new(),
                recovered: None,
            }),
        }
    }
    let begins: Vec<f64> = incidents.iter().map(Incident::begin).collect();
    for (place, incident) in incidents.iter_mut().enumerate() {
        let next = begins.get(place + 1).copied().unwrap_or(f64::INFINITY);
        measure(arm, incident, next);
    }
    let (sent, failed) = (report.summary.planned, report.summary.planned - report.summary.succeeded);
    let target = target(run, arm);
    let within: u64 = incidents.iter().map(|incident| incident.failed).sum();
    let faults = || incidents.iter().filter(|incident| incident.is_fault());
    let gaps: Vec<f64> =
        faults().map(Incident::effect).collect::<Vec<_>>().windows(2).map(|two| two[1] - two[0]).collect();
    let availability = verdict::observe(run, arm, WHOLE, &Measure::Availability).ok().map(|observed| observed.value);
    Some(ArmStory {
        sent,
        failed,
        availability,
        target,
        spent: 100.0 * failed as f64 / (sent as f64 * (1.0 - target / 100.0)).max(1e-9),
        mttd: mean(faults().filter_map(|incident| Some(incident.noticed?.0))),
        mttr: mean(faults().filter(|incident| incident.noticed.is_some()).filter_map(|incident| incident.recovered)),
        alerted: mean(faults().filter_map(|incident| Some(incident.alerted.first()?.0))),
        mtbf: mean(gaps.into_iter()),
        outside: failed.saturating_sub(within),
        arm,
        incidents,
    })
}

/// The success rate that a hypothesis requires for the whole time of this arm, or the contract's.
fn target(run: &Run<'_>, arm: &ArmRun<'_>) -> f64 {
    let of_arm = run.begin.experiment.hypotheses.iter().filter(|one| one.arm == arm.arm.name && one.window == WHOLE);
    let asked = of_arm.filter(|one| one.measure == Measure::Success).find_map(|one| one.bound.at_least);
    asked.filter(|asked| (50.0..100.0).contains(asked)).unwrap_or(TARGET)
}

fn measure<'a>(arm: &'a ArmRun<'a>, incident: &mut Incident<'a>, next: f64) {
    let (begin, effect) = (incident.begin(), incident.effect());
    let known = incident.bands.iter().map(Band::end).fold(0.0, f64::max);
    let end = known.min(next);
    if let Some((report, _)) = arm.load
        // A step belongs to a window if it begins in it. The step in which the fault begins is already affected.
        && let Some(window) = report.window(begin - report.interval_s + HAIR, end)
    {
        let summary = window.summary();
        incident.sent = summary.planned;
        incident.failed = summary.planned - summary.succeeded;
        let per_user = arm.arm.load.as_ref().and_then(|load| load.per_user).filter(|rate| *rate > 0.0);
        incident.users = per_user.map(|per_user| {
            // Failures hit users at random: with f failures among N users, N·(1 − e^(−f/N)) of them are affected.
            let users = (summary.planned as f64 / window.seconds.max(1e-9) / per_user).max(1.0);
            users * (1.0 - (-(incident.failed as f64) / users).exp())
        });
    }
    incident.recovered = known.is_finite().then_some((known - effect).max(0.0));
    let answers = arm.probes.iter().flat_map(|(name, answers)| {
        let plan = arm.arm.probes.iter().find(|probe| probe.name == *name);
        answers.iter().filter_map(move |answer| {
            let ended = (answer.at + answer.took) / 1e3;
            let is_bad = plan.is_some_and(|plan| !answer.fits(&plan.good));
            (is_bad && ended >= effect && ended < end).then_some((ended - effect, *name))
        })
    });
    let failures = arm.load.iter().flat_map(|(_, requests)| &requests.bad).filter_map(|(at, latency, _)| {
        let ended = f64::from(*at) + f64::from(*latency) / 1e3;
        (ended >= effect && ended < end).then_some((ended - effect, LOAD))
    });
    incident.noticed = answers.chain(failures).min_by(|one, other| one.0.total_cmp(&other.0));
    let alerts = arm.alerts.iter().filter(|(at, _, state)| *at >= effect && *at < next && *state == "firing");
    incident.alerted = alerts.map(|(at, name, _)| (at - effect, *name)).collect();
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}
