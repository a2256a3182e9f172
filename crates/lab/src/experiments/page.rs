//! The page of an experiment in `docs/experiments/`: a pure function of its data and of the result of a recorded run.

mod recorded;

use std::fmt::Write;

pub use self::recorded::{FigureSeen, Recorded};
use crate::{
    experiment::{Arm, Experiment, LoadPlan, Pace, Scale, Shape, Step, Via},
    verdict::{Judged, number},
};

/// The page, with the measurements of a recorded run if there is one.
#[must_use]
pub fn render(experiment: &Experiment, recorded: Option<&Recorded>) -> String {
    let about = &experiment.about;
    let mut page = format!("# {}\n\n<!-- {MADE} -->\n\n{}\n", about.name, about.question);
    if !about.says.is_empty() {
        section(&mut page, "What the source says");
        // This text is shortened, so it is not marked as a quotation.
        page += &format!("{}, in short: {}\n", source(&about.seed), about.says);
    }
    section(&mut page, "What to expect, and why");
    page += &format!("{}\n", about.expect);
    section(&mut page, "What to change in a system that does worse");
    page += &format!("{}\n", about.change);
    section(&mut page, "How it is done");
    page += &cases(experiment);
    section(&mut page, "What has to hold, and what was seen");
    page += &hypotheses(experiment, recorded);
    if !about.figures.is_empty() {
        page += &figures(experiment, recorded);
    }
    page += &measured(experiment, recorded);
    page
}

const MADE: &str = "Made from crates/lab/src/experiments and a recorded run by\n     UPDATE_DOCS=1 cargo test -p lab --test experiments";

fn section(page: &mut String, title: &str) {
    // Writing to a String cannot fail.
    let _infallible = write!(page, "\n## {title}\n\n");
}

/// The source of an experiment, in words.
fn source(seed: &str) -> &'static str {
    match seed {
        "000" => "The lesson \"Your First System\"",
        "001" => "The course on system design",
        "002" => "The lesson \"Incident Response\"",
        "004" => "The notes on the app, phase by phase",
        _ => "The source",
    }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn cases(experiment: &Experiment) -> String {
    let mut text = "| case | stack | load | what is done, and when |\n| --- | --- | --- | --- |\n".to_owned();
    for arm in &experiment.arms {
        let load = arm.load.as_ref().map_or_else(|| "the probes only".to_owned(), describe_load);
        let row = [arm.name.clone(), shape(&arm.stack), load, steps(arm)].map(|text| cell(&text)).join(" | ");
        let _infallible = writeln!(text, "| {row} |");
    }
    text
}

fn shape(shape: &Shape) -> String {
    let mut text = if shape.replicas == 1 { "1 replica".to_owned() } else { format!("{} replicas", shape.replicas) };
    text += &shape.phase.map_or_else(String::new, |phase| format!(", `PHASE={phase}`"));
    text += &shape.cpus.map_or_else(String::new, |cpus| format!(", {cpus} of a core each"));
    for (name, value) in &shape.env {
        text += &format!(", `{name}={value}`");
    }
    text
}

fn describe_load(load: &LoadPlan) -> String {
    let pace = match &load.pace {
        Pace::Rate(rate) => format!("{rate} requests/s"),
        Pace::Curve(_) => "requests/s by the curve of the day".to_owned(),
        Pace::Times { factor, of } => format!("{factor} times the goodput of `{of}`"),
        Pace::Users(users) => format!("{users} users, each waiting for its answer"),
        Pace::Requests { users, count } => format!("{count} requests of {users} users"),
    };
    let kinds = load.requests.iter().map(|request| {
        let name = request.name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        format!("{name}`{} {}`", request.method, request.path)
    });
    let retries =
        load.retries.as_ref().map_or_else(String::new, |retries| format!(", up to {} attempts", retries.attempts));
    format!("{pace}{retries} for {}: {}", time(load.lasts), kinds.collect::<Vec<_>>().join(", "))
}

fn steps(arm: &Arm) -> String {
    let prepare = arm.prepare.iter().map(|action| format!("before: {action}"));
    let step = |step: &Step| {
        if step.at.is_zero() { step.action.to_string() } else { format!("{}: {}", time(step.at), step.action) }
    };
    let is_act = |step: &&Step| !matches!(step.action, crate::experiment::Action::Mark(_));
    let probes = arm.probes.iter().map(|probe| {
        let via = match probe.via {
            Via::Nginx => "nginx".to_owned(),
            Via::Replica(number) => format!("api-{number}"),
        };
        format!("probe `{}` asks {via} for `{} {}`", probe.name, probe.method, probe.path)
    });
    let all: Vec<String> = prepare.chain(arm.steps.iter().filter(is_act).map(step)).chain(probes).collect();
    all.join("; ")
}

fn time(time: std::time::Duration) -> String {
    loadgen::duration::format(time)
}

fn hypotheses(experiment: &Experiment, recorded: Option<&Recorded>) -> String {
    let mut text =
        "| case | when | what has to hold | measure | limit | seen | |\n| --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    let mut last = "";
    for (place, hypothesis) in experiment.hypotheses.iter().enumerate() {
        let judged = recorded.and_then(|recorded| recorded.of(place, hypothesis));
        let (seen, outcome) = judged.map_or_else(Default::default, |judged| (seen(judged), judged.outcome.as_str()));
        let case = if hypothesis.arm == last { "" } else { &hypothesis.arm };
        let row = [
            case,
            &hypothesis.window,
            &hypothesis.says,
            &hypothesis.measure.name(),
            &hypothesis.limit(),
            &seen,
            outcome,
        ];
        let _infallible = writeln!(text, "| {} |", row.map(cell).join(" | "));
        last = &hypothesis.arm;
    }
    text
}

fn seen(judged: &Judged) -> String {
    match &judged.observed {
        Some(observed) if !observed.text.is_empty() => observed.text.clone(),
        Some(observed) => format!("{} {}", number(observed.value), judged.unit).trim_end().to_owned(),
        None => judged.why.clone(),
    }
}

fn figures(experiment: &Experiment, recorded: Option<&Recorded>) -> String {
    let mut text = "\n| figure | the source | here | case |\n| --- | --- | --- | --- |\n".to_owned();
    for figure in &experiment.about.figures {
        let seen = recorded.and_then(|recorded| recorded.figures.iter().find(|seen| seen.what == figure.what));
        let here = seen.map_or("", |seen| &seen.here);
        let row = [&figure.what, &figure.theirs, here, &figure.arm].map(cell).join(" | ");
        let _infallible = writeln!(text, "| {row} |");
    }
    text
}

fn measured(experiment: &Experiment, recorded: Option<&Recorded>) -> String {
    let name = &experiment.about.name;
    let Some(recorded) = recorded else {
        return format!("\nNo run of it is recorded yet: `lab run {name}`.\n");
    };
    let quick = if recorded.scale == Scale::Quick { " --quick" } else { "" };
    let allowance = if recorded.allowance > 0.0 {
        format!(" A time may be {:.0} % more than its limit, which this machine needs.", recorded.allowance * 100.0)
    } else {
        String::new()
    };
    let machine = &recorded.machine;
    format!(
        "\nRecorded on {} with {} cores ({}), Linux {}, the stack of the {} driver: `lab run {name}{quick} --seed {}`.{allowance}\n",
        recorded.day(),
        machine.cores,
        machine.cpu,
        machine.kernel.split('-').next().unwrap_or_default(),
        recorded.driver,
        recorded.seed,
    )
}

/// The list of all pages.
#[must_use]
pub fn index(experiments: &[Experiment], recorded: impl Fn(&str) -> Option<Recorded>) -> String {
    let mut text = format!(
        "# Experiments\n\n<!-- {MADE} -->\n\nEach breaks something on the real stack and measures what comes of it. `lab list` \
         shows them, `lab run NAME` runs one.\n\n| experiment | question | recorded |\n| --- | --- | --- |\n"
    );
    for Experiment { about, .. } in experiments {
        let outcome = recorded(&about.name).map_or("", |recorded| recorded.outcome.as_str());
        let _infallible = writeln!(text, "| [{0}]({0}.md) | {1} | {outcome} |", about.name, cell(&about.question));
    }
    text
}
