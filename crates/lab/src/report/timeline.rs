//! The planned and executed actions, step by step.

use std::collections::BTreeSet;

use crate::{journal::ArmRun, report::words};

/// The limit of lines: an hour of random faults has a thousand steps.
const MOST_ROWS: usize = 250;

pub(super) const HEAD: [&str; 5] = ["planned", "step", "asked", "done or in effect", "seen"];

pub(super) struct Row {
    planned: Option<f64>,
    what: String,
    asked: Option<f64>,
    done: Option<f64>,
    seen: String,
}

impl Row {
    /// The columns of [`HEAD`].
    pub(super) fn cells(&self) -> [String; 5] {
        let time = |time: Option<f64>, none: &str| time.map_or_else(|| none.to_owned(), words::at);
        let none =
            if self.asked.is_some() || self.done.is_some() || self.planned.is_none() { "" } else { "not reached" };
        [time(self.planned, ""), self.what.clone(), time(self.asked, none), time(self.done, ""), self.seen.clone()]
    }
}

/// Every step of the plan with its result, then the other actions, in chronological order.
pub(super) fn rows(arm: &ArmRun<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let names: Vec<String> = (0..arm.arm.steps.len()).map(|place| arm.arm.step_name(place)).collect();
    for (step, name) in arm.arm.steps.iter().zip(&names) {
        let planned = Some(step.at.as_secs_f64());
        let mut done: Vec<Row> = events(arm, name, planned).collect();
        if done.is_empty() {
            // Skips a heal that found nothing to undo and a mark: only the marks around the step show them.
            let mark = |suffix: &str| arm.marks.get(&format!("{name}.{suffix}"));
            let (asked, ended) = (mark("asked"), mark("done"));
            done.push(Row { planned, what: step.action.to_string(), asked, done: ended, seen: String::new() });
        }
        rows.append(&mut done);
    }
    let of_plan: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let others: BTreeSet<&str> =
        arm.events.iter().map(|event| event.step).filter(|step| !of_plan.contains(step)).collect();
    for name in others {
        rows.extend(events(arm, name, None));
    }
    for (at, name, state) in &arm.alerts {
        rows.push(Row {
            planned: None,
            what: format!("alert {name}: {state}"),
            asked: None,
            done: Some(*at),
            seen: String::new(),
        });
    }
    for (name, at) in &arm.reached {
        if *name == "recovered" || *name == "end" {
            let what = if *name == "end" { "end of the load" } else { "every probe has good answers" };
            rows.push(Row { planned: None, what: what.to_owned(), asked: None, done: Some(*at), seen: String::new() });
        }
    }
    let key = |row: &Row| row.asked.or(row.done).or(row.planned).unwrap_or(f64::INFINITY);
    rows.sort_by(|one, other| key(one).total_cmp(&key(other)));
    if rows.len() > MOST_ROWS {
        let left_out = words::plural((rows.len() - MOST_ROWS) as u64, "more line", "more lines");
        rows.truncate(MOST_ROWS);
        rows.push(Row {
            planned: None,
            what: format!("… {left_out}, in the journal"),
            asked: None,
            done: None,
            seen: String::new(),
        });
    }
    rows
}

fn events<'b>(arm: &'b ArmRun<'_>, name: &'b str, planned: Option<f64>) -> impl Iterator<Item = Row> + 'b {
    arm.events.iter().filter(move |event| event.step == name).map(move |event| Row {
        planned,
        what: event.what.clone(),
        asked: Some(event.asked),
        done: Some(event.done),
        seen: seen(arm, name, &event.what),
    })
}

/// What the check from outside found, or how the fault was undone.
fn seen(arm: &ArmRun<'_>, name: &str, what: &str) -> String {
    let fault =
        arm.injected.iter().find(|(step, fault)| *step == name && what == format!("{} {}", fault.kind, fault.target));
    if let Some((_, fault)) = fault {
        return format!("{}; {}", fault.action, fault.evidence);
    }
    let healed = arm.healed.iter().find(|(step, healed)| *step == name && what == format!("heal {}", healed.target));
    healed.map_or_else(String::new, |(_, healed)| healed.action.clone())
}
