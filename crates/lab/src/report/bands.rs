//! The actions on the stack in an arm, as intervals of its time: a fault from its order to the recovery, a change of
//! the replicas from its order to its end.

use crate::{experiment::Action, journal::ArmRun};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Band<'a> {
    pub(super) step: &'a str,
    /// `kill api-2`
    pub(super) what: String,
    /// Whether it is a fault; otherwise it is a change of the replicas.
    pub(super) is_fault: bool,
    pub(super) ordered: f64,
    /// When it was confirmed from outside.
    pub(super) effect: f64,
    /// When the undo began.
    pub(super) undo: Option<f64>,
    /// When every probe had a good answer again.
    pub(super) recovered: Option<f64>,
    /// What the check from outside found.
    pub(super) evidence: &'a str,
}

impl Band<'_> {
    /// As far as is known.
    pub(super) fn end(&self) -> f64 {
        self.recovered.or(self.undo).unwrap_or(f64::INFINITY).max(self.effect)
    }
}

/// In chronological order. The preparation of an arm is its initial condition, not an event in it.
pub(super) fn all<'a>(arm: &ArmRun<'a>) -> Vec<Band<'a>> {
    let mut bands = faults(arm);
    for (place, step) in arm.arm.steps.iter().enumerate() {
        if matches!(step.action, Action::Restart(_) | Action::Scale(_)) {
            let name = arm.arm.step_name(place);
            let done = arm.events.iter().filter(|event| event.step == name);
            bands.extend(done.map(|event| Band {
                step: event.step,
                what: event.what.clone(),
                is_fault: false,
                ordered: event.asked,
                effect: event.asked,
                undo: Some(event.done),
                recovered: Some(event.done),
                evidence: "",
            }));
        }
    }
    bands.sort_by(|one, other| one.ordered.total_cmp(&other.ordered));
    bands
}

fn faults<'a>(arm: &ArmRun<'a>) -> Vec<Band<'a>> {
    let recovered = |since: f64| {
        let mut marks = arm.reached.iter().filter(|(name, at)| *name == "recovered" && *at >= since);
        marks.next().map(|(_, at)| *at)
    };
    let of_steps = arm.injected.iter().filter(|(step, _)| !step.starts_with("prepare-"));
    let band = |(step, fault): &(&'a str, &'a stack::Injected)| {
        let (ordered, effect) = (arm.seconds(fault.asked_at), arm.seconds(fault.took_effect_at));
        let mut undoings = arm.healed.iter().map(|(_, healed)| healed).filter(|healed| {
            let is_its = healed.kind.as_ref().is_none_or(|kind| *kind == fault.kind);
            healed.target == fault.target && is_its && healed.asked_at >= fault.took_effect_at
        });
        let undo = if fault.kind.is_momentary() {
            Some(effect)
        } else {
            undoings.next().map(|healed| arm.seconds(healed.asked_at))
        };
        Band {
            step,
            what: format!("{} {}", fault.kind, fault.target),
            is_fault: true,
            ordered,
            effect,
            undo,
            recovered: undo.and_then(recovered),
            evidence: &fault.evidence,
        }
    };
    of_steps.map(band).collect()
}
