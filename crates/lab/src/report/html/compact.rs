//! Arms without a load, which only probes asked: a line each, with the answers as a small picture.

use loadgen::charts::{Frame, Plot, escape};

use super::super::{bands, course, words};
use crate::{
    journal::{ArmRun, ProbeAnswer},
    verdict::{Judged, Outcome},
};

/// The slowest answer a probe waits for, in ms, and the fastest there is.
const LATENCY: (f64, f64) = (0.2, 3_000.0);

/// The table.
pub(super) fn table(arms: &[&ArmRun<'_>], judged: &[Judged]) -> String {
    let mut html = String::from(
        "<div class=\"table\"><table class=\"cards compact\"><thead><tr><th>arm</th><th>done</th><th>answers</th><th>median</th>\
         <th>slowest</th><th>answers over time</th><th>hypotheses</th></tr></thead><tbody>\n",
    );
    for arm in arms {
        html += &row(arm, judged);
    }
    html + "</tbody></table></div>\n<p class=\"caption\">Each dot is an answer: its height is how long it took, from 0.2 ms to 3 s on a log \
            scale; red is not what the probe calls good. The shaded part is the fault. The time of each picture is its own.</p>\n"
}

fn row(arm: &ArmRun<'_>, judged: &[Judged]) -> String {
    let answers: Vec<&ProbeAnswer> = arm.probes.values().flatten().copied().collect();
    let times: Vec<f64> = answers.iter().map(|answer| answer.took).collect();
    let median = loadgen::stats::median(&times).map_or_else(|| "–".to_owned(), |value| words::value(value, "ms"));
    let slowest =
        times.iter().copied().reduce(f64::max).map_or_else(|| "–".to_owned(), |value| words::value(value, "ms"));
    let done: Vec<String> = bands::all(arm).into_iter().map(|band| band.what).collect();
    let own = judged.iter().filter(|judged| judged.arm == arm.arm.name);
    let figures: String = own
        .map(|judged| {
            let word = judged.outcome.as_str();
            let why = if judged.outcome == Outcome::Held {
                String::new()
            } else {
                format!(" title=\"{}\"", escape(&judged.why))
            };
            let value = judged
                .observed
                .as_ref()
                .map_or_else(|| "not told".to_owned(), |seen| words::value(seen.value, &judged.unit));
            format!(
                "<span class=\"chip {word}\"{why}>{} {} <small>{}</small></span>",
                escape(&judged.measure),
                escape(&value),
                escape(&judged.limit)
            )
        })
        .collect();
    format!(
        "<tr><td data-label=\"arm\"><b>{}</b></td><td data-label=\"done\">{}</td><td data-label=\"answers\">{}</td><td data-label=\"median\">{median}</td>\
         <td data-label=\"slowest\">{slowest}</td><td data-label=\"over time\" class=\"spark\">{}</td><td data-label=\"hypotheses\" class=\"chips\">{figures}</td></tr>\n",
        escape(&arm.arm.name),
        escape(&done.join(", ")),
        words::count(answers.len() as u64),
        spark(arm),
    )
}

fn spark(arm: &ArmRun<'_>) -> String {
    let frame = Frame { width: 180.0, height: 34.0, left: 1.0, right: 1.0, top: 2.0, bottom: 2.0 };
    let end = course::end(arm, &[]);
    let x = frame.x(0.0, end);
    let mut plot = Plot::with_ticks(frame, x, frame.y_log(LATENCY.0, LATENCY.1), [], |_| String::new());
    for band in bands::all(arm).iter().filter(|band| band.is_fault) {
        plot.region("active", band.ordered, band.undo.unwrap_or(end));
    }
    let dots = |is_good: bool| {
        let fits = move |name: &str, answer: &ProbeAnswer| {
            let plan = arm.arm.probes.iter().find(|probe| probe.name == name);
            plan.is_none_or(|plan| answer.fits(&plan.good)) == is_good
        };
        let all = arm.probes.iter().flat_map(|(name, answers)| answers.iter().map(move |answer| (*name, *answer)));
        all.filter(move |(name, answer)| fits(name, answer)).map(|(_, answer)| (answer.at / 1e3, answer.took))
    };
    plot.dots("rest", "good", dots(true));
    plot.dots("bad", "other", dots(false));
    plot.svg("answers over time")
}
