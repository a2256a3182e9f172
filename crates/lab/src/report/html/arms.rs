//! The arms of an experiment: each with its picture and the figures of its windows; arms without a load in one table.

use loadgen::charts::escape;

use super::{
    compact,
    panels::{self, Picture, Scales},
    section, tables, zoom,
};
use crate::{
    experiment::{Arm, LoadPlan, Pace},
    journal::{ArmRun, Run},
    report::{bands, course, words},
    verdict::{Outcome, Verdict},
};

pub(super) fn sections(run: &Run<'_>, verdict: &Verdict) -> String {
    let (loaded, probed): (Vec<&ArmRun<'_>>, Vec<&ArmRun<'_>>) =
        run.arms.iter().partition(|arm| arm.load.is_some() || !arm.points.is_empty());
    let mut html = section("What happened", &pictures(run, verdict, &loaded));
    html += &section("Before, during, after", &tables::windows(run, &loaded));
    let title = if loaded.is_empty() { "What happened" } else { "Arms without a load" };
    html + &section(
        title,
        &if probed.is_empty() {
            String::new()
        } else {
            compact::table(&probed, &verdict.judged, &run.begin.experiment.hypotheses)
        },
    )
}

fn pictures(run: &Run<'_>, verdict: &Verdict, loaded: &[&ArmRun<'_>]) -> String {
    // Every run is judged; the picture shows the first.
    let drawn = loaded.iter().filter(|arm| arm.repeat == 1 || !loaded.iter().any(|other| other.repeat == 1));
    let pictures: Vec<Picture<'_>> =
        drawn.map(|arm| Picture { arm, slices: course::slices(arm), bands: bands::all(arm) }).collect();
    if pictures.is_empty() {
        return String::new();
    }
    let hypotheses = &run.begin.experiment.hypotheses;
    let scales = Scales::of(&pictures, hypotheses);
    let figures: String = pictures
        .iter()
        .map(|picture| {
            let arm = picture.arm.arm;
            format!(
                "<figure class=\"arm {}\"><header><h3>{}</h3>{}</header><p>{}</p>\n{}{}</figure>\n",
                if scales.is_half { "half" } else { "wide" },
                escape(&arm.name),
                badge(&arm.name, verdict),
                escape(&description(arm)),
                panels::panels(picture, hypotheses, scales),
                zoom::details(picture.arm, picture.slices.len()),
            )
        })
        .collect();
    let two = if pictures.len() > 1 { " two" } else { "" };
    let mut note = String::new();
    if pictures.len() > 1 {
        note += "All arms have the same scales. ";
    }
    if run.begin.repeats > 1 {
        note += &format!("The pictures are of the first of {} runs; every run is judged.", run.begin.repeats);
    }
    let note = if note.is_empty() { note } else { format!("<p class=\"caption\">{}</p>\n", note.trim()) };
    format!("{note}<div class=\"arms{two}\">\n{figures}</div>\n")
}

/// The result of the hypotheses of an arm, in one word.
fn badge(arm: &str, verdict: &Verdict) -> String {
    let own: Vec<Outcome> =
        verdict.judged.iter().filter(|judged| judged.arm == arm).map(|judged| judged.outcome).collect();
    let Some(worst) = own.iter().max() else { return String::new() };
    let held = own.iter().filter(|outcome| **outcome == Outcome::Held).count();
    format!("<span class=\"badge {}\">{held} of {} held</span>", worst.as_str(), own.len())
}

/// `3 replicas, CACHE=off; 200 requests/s for 8 s`
fn description(arm: &Arm) -> String {
    let stack = &arm.stack;
    let mut words = vec![words::plural(u64::from(stack.replicas), "replica", "replicas")];
    words.extend(stack.phase.map(|phase| format!("phase {phase}")));
    words.extend(stack.env.iter().map(|(name, value)| format!("{name}={value}")));
    words.extend(stack.cpus.map(|cpus| format!("{cpus} cores each")));
    let mut text = words.join(", ");
    for action in &arm.prepare {
        text += &format!("; prepared: {action}");
    }
    if let Some(load) = &arm.load {
        text += &format!("; {}", load_words(load));
    }
    text
}

fn load_words(load: &LoadPlan) -> String {
    let lasts = words::planned(load.lasts);
    match &load.pace {
        Pace::Rate(rate) => format!("{} requests/s for {lasts}", words::value(*rate, "")),
        Pace::Curve(_) => format!("requests by a curve over {lasts}"),
        Pace::Times { factor, of } => format!("{factor} times what {of} achieved, for {lasts}"),
        Pace::Users(users) => format!("{users} users in a closed loop for {lasts}"),
        Pace::Requests { users, count } => {
            format!("{} requests by {users} users in a closed loop", words::count(*count))
        }
    }
}
