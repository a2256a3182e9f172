//! `--dry-run`: prints what would be done, and when.

use crate::{
    cli::seconds,
    experiment::{Arm, Experiment, Pace},
};

pub(super) fn text(experiment: &Experiment, repeats: u32) -> String {
    let about = &experiment.about;
    let mut lines = vec![format!("{}: {}", about.name, about.question)];
    for arm in &experiment.arms {
        lines.extend(arm_lines(arm));
    }
    if repeats > 1 {
        lines.push(format!("  each arm {repeats} times, interleaved"));
    }
    lines.push("  judged:".to_owned());
    for hypothesis in &experiment.hypotheses {
        let measure = hypothesis.measure.name();
        lines.push(format!(
            "    {} [{}, {}: {measure} {}]",
            hypothesis.says,
            hypothesis.arm,
            hypothesis.window,
            hypothesis.limit()
        ));
    }
    lines.join("\n")
}

fn arm_lines(arm: &Arm) -> Vec<String> {
    let mut shape = format!("{} replicas", arm.stack.replicas);
    if arm.stack.replicas == 1 {
        "1 replica".clone_into(&mut shape);
    }
    shape += &arm.stack.phase.map_or_else(String::new, |phase| format!(", phase {phase}"));
    shape += &arm.stack.cpus.map_or_else(String::new, |cpus| format!(", {cpus} cores each"));
    arm.stack.env.iter().for_each(|(name, value)| shape += &format!(", {name}={value}"));
    let mut lines = vec![format!("  arm {}: {shape}", arm.name)];
    lines.extend(arm.prepare.iter().map(|action| format!("    before     {action}")));
    if let Some(load) = &arm.load {
        let pace = match &load.pace {
            Pace::Rate(rate) => format!("{rate} requests per second"),
            Pace::Curve(curve) => format!("the curve {curve}"),
            Pace::Times { factor, of } => format!("{factor} times what the arm {of} achieves"),
            Pace::Users(users) => format!("{users} users"),
            Pace::Requests { users, count } => format!("{count} requests of {users} users"),
        };
        lines.push(format!("    {:>8}   load: {pace} for {}", seconds(std::time::Duration::ZERO), seconds(load.lasts)));
    }
    for probe in &arm.probes {
        let via = String::from(probe.via);
        let from = if probe.from.is_empty() { "start" } else { &probe.from };
        lines.push(format!("    from {from}: probe {} asks {via} for {}", probe.name, probe.path));
    }
    lines.extend(arm.steps.iter().map(|step| format!("    {:>8}   {}", seconds(step.at), step.action)));
    lines.push("    then undo whatever is broken, and wait for recovery".to_owned());
    lines
}
