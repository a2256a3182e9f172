//! The post-mortem as a part of the page.

use loadgen::charts::{Frame, Plot, escape};

use super::tables::table;
use crate::{
    journal::Run,
    report::{
        course,
        postmortem::{ArmStory, HEAD, MOST_INCIDENTS, Postmortem, hypotheses},
        words,
    },
    verdict::Verdict,
};

pub(super) fn section(postmortem: &Postmortem<'_>, run: &Run<'_>, verdict: &Verdict) -> String {
    let mut html: String = postmortem.arms.iter().map(|story| arm(story, run)).collect();
    for (title, held) in [("What held", true), ("What did not hold", false)] {
        let list: String =
            hypotheses(verdict, held).iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
        if !list.is_empty() {
            html += &format!("<h3>{title}</h3>\n<ul>\n{list}</ul>\n");
        }
    }
    let change = &run.begin.experiment.about.change;
    if !change.is_empty() {
        html += &format!("<h3>What to change</h3>\n<p>{}</p>\n", escape(change));
    }
    html
}

fn arm(story: &ArmStory<'_>, run: &Run<'_>) -> String {
    let repeat = if run.begin.repeats > 1 { format!(", run {}", story.arm.repeat) } else { String::new() };
    let tiles: String = story
        .figures()
        .into_iter()
        .map(|(name, value, note)| {
            format!(
                "<div><span>{}</span><b>{}</b><small>{}</small></div>\n",
                escape(name),
                escape(&value),
                escape(&note)
            )
        })
        .collect();
    let head = ["nowrap|at", HEAD[1], HEAD[2], HEAD[3], HEAD[4], HEAD[5], "n|requests failed", "n|users hit"];
    let row = |incident: &crate::report::postmortem::Incident<'_>| {
        let [at, what, noticed, by, well, repair, failed, users] = incident.cells().map(|cell| escape(&cell));
        vec![format!("nowrap|{at}"), what, noticed, by, well, repair, format!("n|{failed}"), format!("n|{users}")]
    };
    let shown: Vec<Vec<String>> = story.incidents.iter().take(MOST_INCIDENTS).map(row).collect();
    let mut html = format!(
        "<h3>{}{repeat}</h3>\n<div class=\"tiles story\">\n{tiles}</div>\n{}{}",
        escape(&story.arm.arm.name),
        burn(story),
        table(&head, &shown)
    );
    if story.incidents.len() > MOST_INCIDENTS {
        let rest = &story.incidents[MOST_INCIDENTS..];
        let failed = rest.iter().map(|incident| incident.failed).sum();
        html += &format!(
            "<p class=\"caption\">{} more, in which {} requests failed.</p>\n",
            rest.len(),
            words::count(failed)
        );
    }
    if let Some(note) = story.users_note() {
        html += &format!("<p class=\"caption\">{}</p>\n", escape(&note));
    }
    for note in story.alerts_notes() {
        html += &format!("<p class=\"caption\">{}.</p>\n", escape(note));
    }
    html
}

/// The use of the error budget over time.
fn burn(story: &ArmStory<'_>) -> String {
    let slices = course::slices(story.arm);
    let budget = story.sent as f64 * (1.0 - story.target / 100.0);
    if slices.is_empty() || budget <= 0.0 || story.failed == 0 {
        return String::new();
    }
    let frame = Frame { width: 1_000.0, height: 150.0, left: 88.0, right: 10.0, top: 8.0, bottom: 24.0 };
    let end = course::end(story.arm, &slices);
    let x = frame.x(0.0, end);
    let ticks = words::ticks(x, end);
    let y = frame.y((100.0 * story.failed as f64 / budget).max(100.0));
    let mut plot = Plot::with_ticks(frame, x, y, ticks, |percent| format!("{percent:.0} %"));
    for incident in &story.incidents {
        for band in &incident.bands {
            plot.region(if band.is_fault { "active" } else { "change" }, band.ordered, band.undo.unwrap_or(end));
        }
    }
    let mut spent = 0;
    let mut points = vec![(0.0, 0.0)];
    for slice in &slices {
        spent += slice.bad();
        points.push((slice.to, 100.0 * spent as f64 / budget));
    }
    plot.curve("burn", "error budget spent", &points);
    plot.bound(100.0, "all of it");
    let svg = plot.svg("error budget spent over time");
    let target = words::trimmed(100.0 - story.target, 2);
    format!(
        "<figure class=\"arm wide\"><div class=\"panel\"><figcaption><h4>Error budget spent: {target} % of the requests may fail</h4></figcaption>\n{svg}</div></figure>\n"
    )
}
