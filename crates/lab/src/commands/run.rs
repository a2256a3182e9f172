//! `lab run`: from names and files to experiments, through the runs to their verdicts and the exit code.

mod plan;
mod summary;

use std::path::{Path, PathBuf};

use stack::{DriverKind, Operation, Progress, StackError, UpOptions};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    Console, Settings,
    cli::RunArguments,
    experiment::{Experiment, Scale},
    experiments,
    journal::Journal,
    run::{self, Live, RunPlan, Workplace},
    verdict::{self, Outcome, Verdict},
};

pub(super) fn run(
    arguments: &RunArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let scale = if arguments.quick { Scale::Quick } else { Scale::Full };
    let chosen = choose(arguments, scale)?;
    if arguments.dry_run {
        chosen.iter().for_each(|experiment| console.print(&plan::text(experiment, arguments.repeat)));
        return Ok(());
    }
    std::fs::create_dir_all(&arguments.out)
        .map_err(|source| StackError::Io { what: format!("cannot create {}", arguments.out.display()), source })?;
    let place = Workplace::open(&up(arguments, folder, settings)?, arguments.driver.map(Into::into), operation)?;
    let names: Vec<&str> = chosen.iter().map(|experiment| experiment.about.name.as_str()).collect();
    let why = format!("lab run {}", if arguments.all { "--all".to_owned() } else { names.join(" ") });
    let outcome = place.with(&why, operation, |session| {
        let mut verdicts = Vec::new();
        for experiment in &chosen {
            let plan = plan_of(experiment, arguments, scale, settings)?;
            console.note(&format!("{}: {}", experiment.about.name, experiment.about.question));
            let show = |line: &str| console.live(line);
            let ran = run::run(&plan, session, place.driver(), &Live::new(&show), operation);
            console.end_live();
            // What was measured is worth telling also after a failure.
            let verdict = tell(&plan, console);
            ran?;
            verdicts.push((experiment.about.name.clone(), verdict?));
        }
        Ok(verdicts)
    });
    let closed = place.close(operation);
    let verdicts = outcome?;
    closed?;
    conclude(&verdicts, console)
}

/// The named experiments, each once.
fn choose(arguments: &RunArguments, scale: Scale) -> Result<Vec<Experiment>, StackError> {
    if arguments.all {
        return Ok(experiments::all(scale, arguments.seed));
    }
    arguments.experiments.iter().map(|name| one(name, scale, arguments.seed)).collect()
}

fn one(name: &str, scale: Scale, seed: u64) -> Result<Experiment, StackError> {
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") || name.contains('/') {
        return Experiment::read(Path::new(name)).map_err(|error| StackError::Usage(error.to_string()));
    }
    experiments::named(name, scale, seed).ok_or_else(|| {
        let nearest =
            experiments::nearest(name).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
        StackError::Usage(format!("there is no experiment `{name}`{nearest} (`lab list` shows all)"))
    })
}

fn up(arguments: &RunArguments, folder: &Path, settings: &Settings) -> Result<UpOptions, StackError> {
    Ok(UpOptions {
        driver: arguments.driver.map_or(DriverKind::Process, Into::into),
        folder: folder.to_owned(),
        project: settings.project()?,
        host: settings.host.clone(),
        replicas: 3,
        phase: None,
        env: Vec::new(),
        port: Some(0),
        cpus: None,
        api: std::path::absolute(arguments.api_bin.as_ref().unwrap_or(&settings.api))
            .map_err(|source| StackError::Io { what: "cannot tell the current folder".to_owned(), source })?,
        install: true,
    })
}

fn plan_of(
    experiment: &Experiment,
    arguments: &RunArguments,
    scale: Scale,
    settings: &Settings,
) -> Result<RunPlan, StackError> {
    let name = &experiment.about.name;
    let given = arguments.experiments.iter().find(|given| given.ends_with(".toml")).filter(|_| !arguments.all);
    let mut command = format!("{} run {}", settings.program, given.unwrap_or(name));
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
        scale,
        seed: arguments.seed,
        repeats: arguments.repeat,
        allowance: arguments.allowance(),
        command,
        journal: folder_for(&arguments.out, name)?.join("journal.ndjson"),
    })
}

/// `OUT/redis-kill/2026-11-25T08-30-00Z`, with a number when there was a run in the same second.
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

/// Judges the journal and says what came of it.
fn tell(plan: &RunPlan, console: &Console) -> Result<Verdict, StackError> {
    let journal = Journal::read(&plan.journal)?;
    let run = journal.run().ok_or_else(|| StackError::Conflict("the journal has no beginning".to_owned()))?;
    let verdict = verdict::judge(&run);
    console.print(&summary::text(&run, &verdict, &plan.journal));
    Ok(verdict)
}

/// The exit code is that of the worst.
fn conclude(verdicts: &[(String, Verdict)], console: &Console) -> Result<(), StackError> {
    if verdicts.len() > 1 {
        console.print(&summary::table(verdicts));
    }
    let of = |outcome: Outcome| -> Vec<&str> {
        verdicts.iter().filter(|(_, verdict)| verdict.outcome == outcome).map(|(name, _)| name.as_str()).collect()
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
