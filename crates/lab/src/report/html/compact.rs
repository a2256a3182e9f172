//! Arms without a load, with probes only: one line each, with the answers as a small picture.

use loadgen::charts::{Frame, Plot, escape};

use super::super::{bands, course, words};
use crate::{
    hypothesis::{Hypothesis, Measure},
    journal::{ArmRun, ProbeAnswer},
    verdict::{Judged, Outcome},
};

/// The range of the answers' times, in ms: the time-out of a probe, and the shortest time shown.
const LATENCY: (f64, f64) = (0.2, 3_000.0);

/// The table.
pub(super) fn table(arms: &[&ArmRun<'_>], judged: &[Judged], hypotheses: &[Hypothesis]) -> String {
    let mut html = String::from(
        "<div class=\"table\"><table class=\"cards compact\"><thead><tr><th>arm</th><th>done</th><th>answers</th><th>median</th>\
         <th>slowest</th><th>answers over time</th><th>hypotheses</th></tr></thead><tbody>\n",
    );
    for arm in arms {
        html += &row(arm, judged, hypotheses);
    }
    html + "</tbody></table></div>\n<p class=\"caption\">Each dot is an answer: its height is how long it took, from 0.2 ms to 3 s on a log \
            scale; red is not as expected. The shaded part is the fault. The time of each picture is its own.</p>\n"
}

fn row(arm: &ArmRun<'_>, judged: &[Judged], hypotheses: &[Hypothesis]) -> String {
    let answers: Vec<&ProbeAnswer> = arm.probes.values().flatten().copied().collect();
    let times: Vec<f64> = answers.iter().map(|answer| answer.took).collect();
    let median = loadgen::stats::median(&times).map_or_else(|| "–".to_owned(), |value| words::value(value, "ms"));
    let slowest =
        times.iter().copied().reduce(f64::max).map_or_else(|| "–".to_owned(), |value| words::value(value, "ms"));
    let done: Vec<String> = bands::all(arm).into_iter().map(|band| band.what).collect();
    let own = || judged.iter().filter(|judged| judged.arm == arm.arm.name);
    let held = own().filter(|judged| judged.outcome == Outcome::Held).count();
    let worst = own().map(|judged| judged.outcome).max().unwrap_or(Outcome::Skipped);
    let badge = format!("<span class=\"badge {}\">{held} of {} held</span>", worst.as_str(), own().count());
    // Counts that held are omitted, because they add nothing to the verdict.
    let figures: String = own()
        .filter(|judged| judged.outcome != Outcome::Held || !judged.unit.is_empty())
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
        "<tr><td data-label=\"arm\"><b>{}</b></td><td data-label=\"done\">{}</td><td data-label=\"answers\">{}</td><td class=\"nowrap\" data-label=\"median\">{median}</td>\
         <td class=\"nowrap\" data-label=\"slowest\">{slowest}</td><td data-label=\"over time\" class=\"spark\">{}</td><td data-label=\"hypotheses\" class=\"chips\">{badge}{figures}</td></tr>\n",
        escape(&arm.arm.name),
        escape(&done.join(", ")),
        words::count(answers.len() as u64),
        spark(arm, hypotheses),
    )
}

fn spark(arm: &ArmRun<'_>, hypotheses: &[Hypothesis]) -> String {
    let frame = Frame { width: 180.0, height: 34.0, left: 1.0, right: 1.0, top: 2.0, bottom: 2.0 };
    let end = course::end(arm, &[]);
    let x = frame.x(0.0, end);
    let mut plot = Plot::with_ticks(frame, x, frame.y_log(LATENCY.0, LATENCY.1), [], |_| String::new());
    for band in bands::all(arm).iter().filter(|band| band.is_fault) {
        plot.region("active", band.ordered, band.undo.unwrap_or(end));
    }
    let dots = |is_good: bool| {
        let all = arm.probes.iter().flat_map(|(name, answers)| answers.iter().map(move |answer| (*name, *answer)));
        let chosen = all.filter(move |(name, answer)| is_as_expected(arm, hypotheses, name, answer) == is_good);
        chosen.map(|(_, answer)| (answer.at / 1e3, answer.took))
    };
    plot.dots("rest", "good", dots(true));
    plot.dots("bad", "other", dots(false));
    plot.svg("answers over time")
}

/// By the hypotheses about the probe's answers, in their windows; without one, by the probe's own definition of good.
fn is_as_expected(arm: &ArmRun<'_>, hypotheses: &[Hypothesis], name: &str, answer: &ProbeAnswer) -> bool {
    let mut is_known = false;
    for hypothesis in hypotheses.iter().filter(|hypothesis| hypothesis.arm == arm.arm.name) {
        if let Measure::Unexpected { probe, expect } = &hypothesis.measure
            && probe == name
        {
            is_known = true;
            let within = arm.window(&hypothesis.window).is_ok_and(|(from, to)| (from..to).contains(&(answer.at / 1e3)));
            if within && !answer.fits(expect) {
                return false;
            }
        }
    }
    let plan = arm.arm.probes.iter().find(|probe| probe.name == name);
    is_known || plan.is_none_or(|plan| answer.fits(&plan.good))
}
