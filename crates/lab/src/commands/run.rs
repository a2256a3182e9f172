//! `lab run`: finds the experiments by name or file, runs them, and prints their verdicts.

mod plan;
mod summary;

use std::path::{Path, PathBuf};

use stack::{Operation, Progress, StackError, UpOptions};
use time::{OffsetDateTime, macros::format_description};

use super::up;
use crate::{
    Console, Settings,
    cli::{HowArguments, RunArguments, UpArguments},
    experiment::{Experiment, Scale},
    experiments,
    journal::Journal,
    report,
    run::{self, Live, RunPlan, Workplace},
    verdict::{self, Outcome, Verdict},
};

/// An experiment that was run, and its result.
pub(super) struct Told {
    pub(super) name: String,
    pub(super) journal: PathBuf,
    pub(super) verdict: Verdict,
}

pub(super) fn run(
    arguments: &RunArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let chosen = choose(arguments)?;
    if arguments.dry_run {
        chosen.iter().for_each(|(experiment, _)| console.print(&plan::text(experiment, arguments.how.repeat)));
        return Ok(());
    }
    let names: Vec<&str> = chosen.iter().map(|(experiment, _)| experiment.about.name.as_str()).collect();
    let why = format!("lab run {}", if arguments.all { "--all".to_owned() } else { names.join(" ") });
    let told = carry_out(&chosen, &why, &arguments.how, folder, settings, console, operation)?;
    conclude(&told, console)
}

/// Runs one experiment after the other on one stack, each with the argument that runs it again.
pub(super) fn carry_out(
    chosen: &[(Experiment, String)],
    why: &str,
    how: &HowArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<Vec<Told>, StackError> {
    std::fs::create_dir_all(&how.out)
        .map_err(|source| StackError::Io { what: format!("cannot create {}", how.out.display()), source })?;
    let place = Workplace::open(&up(how, folder, settings)?, how.driver.map(Into::into), operation)?;
    let outcome = place.with(why, operation, |session| {
        let mut told = Vec::new();
        for (experiment, word) in chosen {
            let plan = plan_of(experiment, word, how, settings)?;
            console.note(&format!("{}: {}", experiment.about.name, experiment.about.question));
            run::announcement::announce(place.folder(), &plan.journal, &how.out)?;
            let show = |line: &str| console.live(line);
            let ran = run::run(&plan, session, place.driver(), &Live::new(&show), operation);
            console.end_live();
            // The measurements are reported even after a failure.
            let verdict = tell(&plan, console);
            ran?;
            told.push(Told { name: experiment.about.name.clone(), journal: plan.journal, verdict: verdict? });
        }
        Ok(told)
    });
    let closed = place.close(operation);
    let told = outcome?;
    closed?;
    // Over all runs in the folder, including earlier ones.
    super::report::index(&how.out)?;
    Ok(told)
}

/// The named experiments, without duplicates.
fn choose(arguments: &RunArguments) -> Result<Vec<(Experiment, String)>, StackError> {
    let (scale, seed) = (scale(&arguments.how), arguments.how.seed);
    if arguments.all {
        let all = experiments::all(scale, seed).into_iter();
        return Ok(all.map(|experiment| (experiment.clone(), experiment.about.name)).collect());
    }
    let named = arguments.experiments.iter();
    named.map(|name| one(name, scale, seed).map(|experiment| (experiment, name.clone()))).collect()
}

pub(super) fn scale(how: &HowArguments) -> Scale {
    if how.quick { Scale::Quick } else { Scale::Full }
}

pub(super) fn one(name: &str, scale: Scale, seed: u64) -> Result<Experiment, StackError> {
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") || name.contains('/') {
        return Experiment::read(Path::new(name)).map_err(|error| StackError::Usage(error.to_string()));
    }
    experiments::named(name, scale, seed).ok_or_else(|| {
        let nearest =
            experiments::nearest(name).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
        StackError::Usage(format!("there is no experiment `{name}`{nearest} (`lab list` shows all)"))
    })
}

fn up(how: &HowArguments, folder: &Path, settings: &Settings) -> Result<UpOptions, StackError> {
    let defaults = up::defaults();
    let arguments = UpArguments {
        driver: how.driver.unwrap_or(defaults.driver),
        port: Some(0),
        api_bin: how.api_bin.clone(),
        ..defaults
    };
    up::options(&arguments, folder, settings)
}

fn plan_of(
    experiment: &Experiment,
    word: &str,
    arguments: &HowArguments,
    settings: &Settings,
) -> Result<RunPlan, StackError> {
    let name = &experiment.about.name;
    let mut command = format!("{} run {word}", settings.program);
    command += if arguments.quick { " --quick" } else { "" };
    command += &format!(" --seed {}", arguments.seed);
    if arguments.repeat > 1 {
        command += &format!(" --repeat {}", arguments.repeat);
    }
    if arguments.allowance > 0 {
        command += &format!(" --allowance {}", arguments.allowance);
    }
    Ok(RunPlan {
        experiment: experiment.clone(),
        scale: scale(arguments),
        seed: arguments.seed,
        repeats: arguments.repeat,
        allowance: arguments.allowance(),
        command,
        host: settings.host.clone(),
        journal: folder_for(&arguments.out, name)?.join("journal.ndjson"),
    })
}

/// `OUT/redis-kill/2026-11-25T08-30-00Z`, with a number if there was a run in the same second.
fn folder_for(out: &Path, name: &str) -> Result<PathBuf, StackError> {
    let format = format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]Z");
    let at = OffsetDateTime::now_utc().format(format).unwrap_or_default();
    let numbers = (2..).map(|number| format!("{at}-{number}"));
    let mut names = std::iter::once(at.clone()).chain(numbers).map(|run| out.join(name).join(run));
    let folder = names.find(|folder| !folder.exists()).unwrap_or_default();
    std::fs::create_dir_all(&folder)
        .map_err(|source| StackError::Io { what: format!("cannot create {}", folder.display()), source })?;
    Ok(folder)
}

/// Judges the journal and prints the result.
fn tell(plan: &RunPlan, console: &Console) -> Result<Verdict, StackError> {
    let journal = Journal::read(&plan.journal)?;
    let run = journal.run().ok_or_else(|| StackError::Conflict("the journal has no beginning".to_owned()))?;
    let verdict = verdict::judge(&run);
    let paths = report::write(&plan.journal)?;
    console.print(&summary::text(&run, &verdict, &paths.html));
    Ok(verdict)
}

/// The exit code is that of the worst run.
pub(super) fn conclude(told: &[Told], console: &Console) -> Result<(), StackError> {
    if told.len() > 1 {
        console.print(&summary::table(told));
    }
    let of = |outcome: Outcome| -> Vec<&str> {
        told.iter().filter(|told| told.verdict.outcome == outcome).map(|told| told.name.as_str()).collect()
    };
    let (deviated, invalid) = (of(Outcome::Deviated), of(Outcome::Invalid));
    if !deviated.is_empty() {
        return Err(StackError::Conflict(format!("deviated: {}", deviated.join(", "))));
    }
    if !invalid.is_empty() {
        return Err(StackError::Usage(format!("not to be judged: {}", invalid.join(", "))));
    }
    Ok(())
}
