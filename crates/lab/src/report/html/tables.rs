//! The tables of the page.

use loadgen::charts::escape;

use crate::{
    hypothesis::Measure,
    journal::{ArmRun, Run},
    report::{Subject, windows, words},
    verdict::{self, Judged, Outcome, Verdict},
};

/// If there are more hypotheses, they are collapsed, except those that did not hold.
const MOST_OPEN: usize = 24;
/// A longer timeline is collapsed.
const MOST_EVENTS: usize = 16;

/// A table that becomes cards on a narrow screen. The cells are HTML; a class may come before a bar: `n|12`.
pub(in crate::report) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let class = |cell: &str| -> (String, String) {
        match cell.split_once('|') {
            Some((class, text)) if ["n", "nowrap"].contains(&class) => (format!(" class=\"{class}\""), text.to_owned()),
            _ => (String::new(), cell.to_owned()),
        }
    };
    let heads: String =
        head.iter().map(|name| class(name)).map(|(class, name)| format!("<th{class}>{name}</th>")).collect();
    let mut html = format!("<div class=\"table\"><table class=\"cards\"><thead><tr>{heads}</tr></thead><tbody>\n");
    for row in rows {
        if let [group] = row.as_slice() {
            html += &format!("<tr class=\"group\"><td colspan=\"{}\">{group}</td></tr>\n", head.len());
            continue;
        }
        let cell = |(cell, name): (&String, &&str)| {
            let (class, text) = class(cell);
            let label = name.split_once('|').map_or(*name, |(_, name)| name);
            format!("<td{class} data-label=\"{label}\">{text}</td>")
        };
        let cells: String = row.iter().zip(head).map(cell).collect();
        html += &format!("<tr>{cells}</tr>\n");
    }
    html + "</tbody></table></div>\n"
}

pub(super) fn hypotheses(verdict: &Verdict) -> String {
    let all = || verdict.judged.iter();
    if verdict.judged.len() <= MOST_OPEN {
        return hypotheses_table(all());
    }
    let other = all().filter(|judged| judged.outcome != Outcome::Held);
    let held = || all().filter(|judged| judged.outcome == Outcome::Held);
    format!(
        "{}<details><summary>{} that held</summary>\n{}</details>\n",
        hypotheses_table(other),
        words::plural(held().count() as u64, "hypothesis", "hypotheses"),
        hypotheses_table(held())
    )
}

fn hypotheses_table<'a>(judged: impl Iterator<Item = &'a Judged>) -> String {
    let head = ["verdict", "hypothesis", "arm, window", "limit", "observed", "95 % interval", "n|n"];
    let rows: Vec<Vec<String>> = judged
        .map(|judged| {
            let word = judged.outcome.as_str();
            let seen = judged.observed.as_ref();
            let why = match judged.outcome {
                Outcome::Held | Outcome::Deviated => String::new(),
                Outcome::Invalid | Outcome::Skipped => {
                    format!("<small>{}</small>", escape(&words::grouped(&judged.why)))
                }
            };
            let runs =
                if judged.runs.len() > 1 { format!("<small>{}</small>", escape(&runs(judged))) } else { String::new() };
            let observed = seen.map_or_else(String::new, |seen| escape(&words::observed(seen, &judged.unit)));
            vec![
                format!("<span class=\"badge {word}\">{word}</span>"),
                format!("{}{why}", escape(&judged.says)),
                format!("{}<small>{}</small>", escape(&judged.arm), escape(&judged.window)),
                format!("{}<small>{}</small>", escape(&words::grouped(&judged.limit)), escape(&judged.measure)),
                format!("{observed}{runs}"),
                format!(
                    "nowrap|{}",
                    seen.map_or_else(String::new, |seen| escape(&words::interval(seen, &judged.unit)))
                ),
                format!("n|{}", seen.filter(|seen| seen.n > 0).map_or_else(String::new, |seen| words::count(seen.n))),
            ]
        })
        .collect();
    table(&head, &rows)
}

/// The values of each run, if there are several.
fn runs(judged: &Judged) -> String {
    let each =
        judged.runs.iter().map(|value| value.map_or_else(|| "not told".to_owned(), |value| words::value(value, "")));
    format!("by run: {}", each.collect::<Vec<_>>().join(", "))
}

/// The figures of the source next to the measured ones.
pub(super) fn source(run: &Run<'_>) -> String {
    let head = ["figure", "the source", "here", "arm, window"];
    let about = &run.begin.experiment.about;
    let rows: Vec<Vec<String>> = about
        .figures
        .iter()
        .map(|figure| {
            let ours = ours(run, &figure.arm, &figure.window, &figure.measure);
            vec![
                escape(&figure.what),
                escape(&figure.theirs),
                escape(&ours),
                format!("{}<small>{}</small>", escape(&figure.arm), escape(&figure.window)),
            ]
        })
        .collect();
    table(&head, &rows)
}

pub(in crate::report) fn ours(run: &Run<'_>, arm: &str, window: &str, measure: &Measure) -> String {
    let values: Vec<String> = run
        .of_arm(arm)
        .map(|arm| match verdict::observe(run, arm, window, measure) {
            Ok(observed) => words::value(observed.value, measure.unit()),
            Err(why) => format!("not measured: {why}"),
        })
        .collect();
    if values.is_empty() { "the arm did not run".to_owned() } else { values.join(", ") }
}

pub(super) fn windows(run: &Run<'_>, arms: &[&ArmRun<'_>]) -> String {
    let mut head = windows::HEAD
        .map(|name| match name {
            "window" | "time" => name.to_owned(),
            other => format!("n|{other}"),
        })
        .to_vec();
    head.push("how it failed".to_owned());
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut rows = Vec::new();
    for arm in arms {
        let own = windows::rows(arm);
        if !own.is_empty() && arms.len() > 1 {
            rows.push(vec![title(run, arm)]);
        }
        rows.extend(own.into_iter().map(|row| {
            let [time, rest @ ..] = row.cells;
            let mut cells = vec![format!("nowrap|{}", escape(&row.window)), format!("nowrap|{}", escape(&time))];
            cells.extend(rest.map(|cell| format!("n|{}", escape(&cell))));
            cells.push(escape(&row.failures));
            cells
        }));
    }
    table(&head, &rows)
}

fn title(run: &Run<'_>, arm: &ArmRun<'_>) -> String {
    if run.begin.repeats > 1 { format!("{}, run {}", escape(&arm.arm.name), arm.repeat) } else { escape(&arm.arm.name) }
}

pub(super) fn timelines(run: &Run<'_>) -> String {
    let of_arm = |arm: &ArmRun<'_>| {
        let rows = super::super::timeline::rows(arm);
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let mut cells: Vec<String> = row.cells().iter().map(|cell| escape(cell)).collect();
                for time in [0, 2, 3] {
                    cells[time] = format!("nowrap|{}", cells[time]);
                }
                cells
            })
            .collect();
        let html = table(&super::super::timeline::HEAD, &cells);
        if html.is_empty() {
            return html;
        }
        let open = if run.arms.len() <= 4 && rows.len() <= MOST_EVENTS { " open" } else { "" };
        format!("<details{open}><summary>{}</summary>\n{html}</details>\n", title(run, arm))
    };
    run.arms.iter().map(of_arm).collect()
}

pub(super) fn generator(run: &Run<'_>) -> String {
    let head = [
        "arm",
        "n|planned",
        "n|sent",
        "n|not sent",
        "n|late by 1 ms",
        "n|sent again",
        "n|lag p99",
        "n|lag max",
        "n|busiest thread",
        "n|stood still",
    ];
    let rows: Vec<Vec<String>> = run
        .arms
        .iter()
        .filter_map(|arm| Some((arm, arm.load?.0)))
        .map(|(arm, report)| {
            let (summary, own) = (&report.summary, &report.generator);
            let ms = |value: Option<f64>| {
                value.map_or_else(|| "n|–".to_owned(), |value| format!("n|{}", words::value(value, "ms")))
            };
            let busiest =
                own.busiest().map_or_else(|| "–".to_owned(), |thread| format!("{:.0} %", thread.busy_share() * 100.0));
            vec![
                title(run, arm),
                format!("n|{}", words::count(summary.planned)),
                format!("n|{}", words::count(summary.sent)),
                format!("n|{}", words::count(summary.dropped)),
                format!("n|{}", words::count(summary.late)),
                format!("n|{}", words::count(report.connections.resent)),
                ms(own.lag_p99_ms),
                ms(own.lag_max_ms),
                format!("n|{busiest}"),
                format!("n|{}", words::lasting(own.stalls.total_s)),
            ]
        })
        .collect();
    let html = table(&head, &rows);
    if html.is_empty() {
        return html;
    }
    html + "<p class=\"caption\">It shares the cores with the stack. An arm is invalid when more than 0.1 % was not sent, the busiest thread \
            ran or waited for a core more than 95 % of the time, or requests went out more than 16 ms late (p99; with an allowance for times, more than that). Sent \
            again was what met the server's end of an idle connection, on a new one (RFC 9112, 9.3.1).</p>\n"
}

pub(super) fn circumstances(subject: &Subject<'_>) -> String {
    let rows = circumstance_rows(subject.run);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), escape(&value)]).collect();
    table(&["", ""], &rows)
}

/// The environment of the run.
pub(in crate::report) fn circumstance_rows(run: &Run<'_>) -> Vec<(&'static str, String)> {
    let begin = run.begin;
    let machine = &begin.machine;
    let cpu = if machine.cpu.is_empty() { String::new() } else { format!(" ({})", machine.cpu) };
    let mut rows = vec![
        ("begun", words::date(begin.at)),
        ("machine", format!("{}{cpu}, Linux {}", words::plural(machine.cores as u64, "core", "cores"), machine.kernel)),
        ("stack", begin.driver.to_string()),
        ("scale", if begin.scale == crate::experiment::Scale::Quick { "quick".to_owned() } else { "full".to_owned() }),
        ("seed", begin.seed.to_string()),
        ("lab", begin.version.clone()),
    ];
    if begin.repeats > 1 {
        rows.push(("runs of each arm", begin.repeats.to_string()));
    }
    if begin.allowance > 0.0 {
        rows.push((
            "allowance for times",
            format!("{} % beyond each bound", words::trimmed(begin.allowance * 100.0, 1)),
        ));
    }
    if !begin.build.is_empty() {
        rows.push(("build of the API", begin.build.clone()));
    }
    let notes = run.arms.iter().flat_map(|arm| arm.notes.iter().map(|note| format!("{}: {note}", arm.arm.name)));
    rows.extend(notes.map(|note| ("note", note)));
    rows
}
