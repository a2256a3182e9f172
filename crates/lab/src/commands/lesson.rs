//! `lab lesson`: lists the lessons, or runs one from its brief to its certificate.

use std::path::Path;

use stack::{Operation, StackError};
use time::{OffsetDateTime, macros::format_description};

use super::run::{self, Told};
use crate::{
    Console, Settings,
    cli::LessonArguments,
    experiment::Experiment,
    lesson::{self, Certificate, JudgedBy, LESSONS, Lesson, Step},
};

pub(super) fn run(
    arguments: &LessonArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let Some(name) = &arguments.name else {
        LESSONS.iter().for_each(|lesson| console.print(&brief(lesson)));
        console.print("lab lesson NAME --quick goes through one");
        return Ok(());
    };
    let lesson = Lesson::named(name).ok_or_else(|| {
        let names: Vec<_> = LESSONS.iter().map(|lesson| lesson.name).collect();
        StackError::Usage(format!("there is no lesson `{name}`; there are {}", names.join(" and ")))
    })?;
    console.print(&brief(lesson));
    let mut chosen = Vec::new();
    for name in lesson.experiments {
        chosen.push((run::one(name, run::scale(&arguments.how), arguments.how.seed)?, (*name).to_owned()));
    }
    if lesson.judged_by == JudgedBy::WholeSystem {
        chosen.push((lesson::whole_system(run::scale(&arguments.how)), format!("lesson {name}")));
    }
    let why = format!("lab lesson {name}");
    let told = run::carry_out(&chosen, &why, &arguments.how, folder, settings, console, operation)?;
    let certificate = certificate(lesson, &chosen, &told, &arguments.how.out)?;
    let path = arguments.how.out.join(format!("{name}.html"));
    std::fs::write(&path, certificate.to_html())
        .map_err(|source| StackError::Io { what: format!("cannot write {}", path.display()), source })?;
    let reached = if certificate.is_reached() { "reached" } else { "not reached" };
    console.print(&format!("{}: target {reached}; {}", lesson.title, path.display()));
    run::conclude(&told, console)
}

fn brief(lesson: &Lesson) -> String {
    let experiments: Vec<_> =
        lesson.experiments.iter().zip(1..).map(|(name, number)| format!("  {number}. {name}")).collect();
    let Lesson { name, title, brief, target, .. } = lesson;
    format!("{title} ({name})\n  {brief}\n{}\n  Target: {target}\n", experiments.join("\n"))
}

fn certificate(
    lesson: &'static Lesson,
    chosen: &[(Experiment, String)],
    told: &[Told],
    out: &Path,
) -> Result<Certificate, StackError> {
    let judging = match lesson.judged_by {
        JudgedBy::Listed(name) => told.iter().find(|told| told.name == name),
        JudgedBy::WholeSystem => told.last(),
    };
    let target = judging.ok_or_else(|| StackError::Conflict("the target was not judged".to_owned()))?;
    let steps = told.iter().zip(chosen).map(|(told, (experiment, _))| {
        let report = told.journal.with_file_name("report.html");
        Step {
            name: told.name.clone(),
            link: report.strip_prefix(out).unwrap_or(&report).display().to_string(),
            question: experiment.about.question.clone(),
            verdict: told.verdict.clone(),
        }
    });
    let format = format_description!("[year]-[month]-[day]");
    Ok(Certificate {
        lesson,
        steps: steps.collect(),
        target: target.verdict.clone(),
        date: OffsetDateTime::now_utc().format(format).unwrap_or_default(),
    })
}
