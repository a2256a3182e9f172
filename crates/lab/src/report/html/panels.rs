//! The picture of one arm: requests per second, latencies and servers over one time axis, with the actions on the
//! stack.

use std::fmt::Write as _;

use loadgen::charts::{Axis, Frame, Plot, escape};

use super::super::{
    bands::Band,
    course::{ENDS, Slice},
    words,
};
use crate::{
    hypothesis::{Answers, Hypothesis, Measure},
    journal::ArmRun,
};

/// The contract of the service, in ms.
const CONTRACT_MS: f64 = 320.0;
/// With more bands, their labels do not fit next to each other.
const MOST_NAMES: usize = 8;
/// With more bands, the parts are too narrow to be distinguished.
const MOST_PARTS: usize = 60;
/// The approximate width of a letter, in units.
const LETTER: f64 = 6.6;

/// The scales that all arms of a report share, so that they can be compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales {
    pub(super) end: f64,
    pub(super) rate: f64,
    pub(super) latency: (f64, f64),
    /// Two arms are shown side by side.
    pub(super) is_half: bool,
}

/// An arm with its results.
pub(super) struct Picture<'a> {
    pub(super) arm: &'a ArmRun<'a>,
    pub(super) slices: Vec<Slice>,
    pub(super) bands: Vec<Band<'a>>,
}

impl Scales {
    pub(super) fn of(pictures: &[Picture<'_>], hypotheses: &[Hypothesis]) -> Self {
        let rates = pictures.iter().flat_map(|picture| picture.slices.iter()).map(|slice| slice.rate(slice.total()));
        let latencies = || {
            let dots = pictures.iter().filter_map(|picture| picture.arm.load).flat_map(|(_, requests)| {
                requests
                    .bad
                    .iter()
                    .chain(&requests.slow)
                    .chain(&requests.sample)
                    .map(|(_, latency, _)| f64::from(*latency))
            });
            dots.filter(|latency| *latency > 0.0)
        };
        let limits = pictures.iter().flat_map(|picture| limits(&picture.arm.arm.name, hypotheses));
        let ends = pictures.iter().map(|picture| super::super::course::end(picture.arm, &picture.slices));
        Self {
            end: ends.fold(0.001, f64::max),
            rate: rates.fold(0.0, f64::max),
            latency: (latencies().fold(1.0, f64::min).max(0.05), latencies().chain(limits).fold(CONTRACT_MS, f64::max)),
            is_half: pictures.len() > 1,
        }
    }

    fn frame(&self, height: f64, top: f64, bottom: f64) -> Frame {
        // The names of servers are at the left, and are larger if the picture is scaled down.
        let (width, left) = if self.is_half { (600.0, 66.0) } else { (1_000.0, 88.0) };
        Frame { width, height, left, right: 20.0, top, bottom }
    }

    fn x(&self, frame: Frame) -> Axis {
        frame.x(0.0, self.end)
    }

    fn ticks(&self, frame: Frame, is_named: bool) -> Vec<(f64, String)> {
        let ticks = words::ticks(self.x(frame), self.end).into_iter();
        ticks.map(|(at, name)| (at, if is_named { name } else { String::new() })).collect()
    }
}

/// The three panels with their headings, and the values that the script shows under the pointer.
pub(super) fn panels(picture: &Picture<'_>, hypotheses: &[Hypothesis], scales: Scales) -> String {
    let mut html = String::new();
    let parts = [rates(picture, scales), latencies(picture, hypotheses, scales), servers(picture, scales)];
    for (title, legend, svg, caption) in parts.into_iter().flatten() {
        let caption = if caption.is_empty() { caption } else { format!("<p class=\"caption\">{caption}</p>") };
        let _infallible = write!(
            html,
            "<div class=\"panel\"><figcaption><h4>{title}</h4><div class=\"legend\">{legend}</div></figcaption>\n{svg}{caption}</div>\n"
        );
    }
    let readings: Vec<(f64, String)> = readings(picture, scales);
    let data = serde_json::to_string(&readings).unwrap_or_default().replace('<', "\\u003c");
    html + &format!("<script type=\"application/json\">{data}</script>\n")
}

/// Title, legend, picture, caption.
type Panel = Option<(&'static str, String, String, String)>;

fn mark_bands(plot: &mut Plot, bands: &[Band<'_>], end: f64) {
    for band in bands {
        let undo = band.undo.unwrap_or(end);
        if bands.len() > MOST_PARTS {
            plot.region(if band.is_fault { "active" } else { "change" }, band.ordered, undo);
        } else if band.is_fault {
            if band.effect > band.ordered {
                plot.region("ordered", band.ordered, band.effect);
            }
            plot.region("active", band.effect, undo);
            if let Some(recovered) = band.recovered.filter(|recovered| *recovered > undo) {
                plot.region("undone", undo, recovered);
            }
        } else {
            plot.region("change", band.effect, undo);
        }
    }
}

/// The name of each band above its begin, if it fits; in two rows.
fn name_bands(plot: &mut Plot, bands: &[Band<'_>], x: Axis, frame: Frame) {
    if bands.len() > MOST_NAMES {
        return;
    }
    // On a narrow screen there is room for only one.
    let class = if bands.len() > 1 { "band-name more" } else { "band-name" };
    let mut taken = [f64::NEG_INFINITY; 2];
    for band in bands {
        let width = band.what.chars().count() as f64 * LETTER;
        let right = frame.width - frame.right;
        let left = x.place(band.ordered).min(right - width).max(frame.left);
        if let Some(row) = taken.iter().position(|end| *end + 8.0 < left) {
            taken[row] = left + width;
            plot.word(class, "start", (left, 14.0 + 14.0 * row as f64), &band.what);
        }
    }
}

fn rates(picture: &Picture<'_>, scales: Scales) -> Panel {
    if picture.slices.is_empty() {
        return None;
    }
    let rows = if picture.bands.is_empty() || picture.bands.len() > MOST_NAMES { 8.0 } else { 34.0 };
    let frame = scales.frame(180.0 + rows, rows, 8.0);
    let x = scales.x(frame);
    let mut plot = Plot::with_ticks(frame, x, frame.y(scales.rate), scales.ticks(frame, false), words::axis);
    mark_bands(&mut plot, &picture.bands, scales.end);
    name_bands(&mut plot, &picture.bands, x, frame);
    let mut floor = vec![0.0; picture.slices.len()];
    for (place, (class, name)) in ENDS.into_iter().enumerate() {
        let stack = |(slice, floor): (&Slice, &mut f64)| {
            let low = *floor;
            *floor += slice.rate(slice.ends[place]);
            (slice.from, slice.to, low, *floor)
        };
        let steps: Vec<_> = picture.slices.iter().zip(&mut floor).map(stack).collect();
        plot.band(class, name, &steps);
    }
    let svg = plot.svg("requests per second by how they ended");
    Some(("Requests per second", plot.legend() + &bands_legend(&picture.bands), svg, String::new()))
}

fn bands_legend(bands: &[Band<'_>]) -> String {
    let mut legend = String::new();
    if bands.iter().any(|band| band.is_fault) {
        legend += "<span><i class=\"key-active\"></i>fault</span>";
    }
    if bands.iter().any(|band| band.is_fault && band.recovered.is_some()) {
        legend += "<span><i class=\"key-undone\"></i>recovering</span>";
    }
    if bands.iter().any(|band| !band.is_fault) {
        legend += "<span><i class=\"key-change\"></i>change of replicas</span>";
    }
    legend
}

/// Limits of the latency of this arm, from the hypotheses.
fn limits(arm: &str, hypotheses: &[Hypothesis]) -> Vec<f64> {
    let mut limits: Vec<f64> = hypotheses
        .iter()
        .filter(|hypothesis| hypothesis.arm == arm)
        .filter(|hypothesis| matches!(hypothesis.measure, Measure::Latency { of: Answers::Good | Answers::All, .. }))
        .filter_map(|hypothesis| hypothesis.bound.at_most)
        .filter(|limit| *limit > 0.0)
        .collect();
    limits.push(CONTRACT_MS);
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    limits
}

fn latencies(picture: &Picture<'_>, hypotheses: &[Hypothesis], scales: Scales) -> Panel {
    let with_p95 = picture.slices.iter().any(|slice| slice.p95.is_some());
    if picture.arm.load.is_none() && !with_p95 {
        return None;
    }
    let frame = scales.frame(220.0, 18.0, 8.0);
    let (smallest, largest) = scales.latency;
    let y = frame.y_log(smallest, largest);
    let mut plot = Plot::with_ticks(frame, scales.x(frame), y, scales.ticks(frame, false), words::axis);
    mark_bands(&mut plot, &picture.bands, scales.end);
    let mut caption = String::new();
    if let Some((report, requests)) = picture.arm.load {
        let dots = |all: &[(f32, f32, u16)]| -> Vec<(f64, f64)> {
            all.iter().map(|(at, latency, _)| (f64::from(*at), f64::from(*latency))).collect()
        };
        plot.dots("rest", "other good answers", dots(&requests.sample));
        plot.dots("slow", "slowest good answers", dots(&requests.slow));
        plot.dots("bad", "failures", dots(&requests.bad));
        caption = dots_caption(report.summary.succeeded, requests);
    }
    let steps: Vec<_> = picture.slices.iter().map(|slice| (slice.from, slice.to, slice.p95)).collect();
    plot.steps("p95", "p95 of good answers", &steps);
    for limit in limits(&picture.arm.arm.name, hypotheses) {
        plot.bound(limit, &words::value(limit, "ms"));
    }
    let svg = plot.svg("latency of single requests");
    Some(("Latency in ms, log scale", plot.legend(), svg, caption))
}

/// Which requests the picture shows.
fn dots_caption(succeeded: u64, requests: &crate::journal::Requests) -> String {
    let slow = requests.slow.len() as u64;
    let share = slow as f64 * 100.0 / succeeded.max(1) as f64;
    let bad = requests.bad.len() as u64;
    let failures = if requests.bad_left_out > 0 {
        format!("{} of {} failures", words::count(bad), words::count(bad + requests.bad_left_out))
    } else if bad == 0 {
        "there was no failure".to_owned()
    } else {
        format!("all {}", words::plural(bad, "failure", "failures"))
    };
    let rest = match requests.one_of {
        0 | 1 => "and all others".to_owned(),
        one_of => format!("and a sample of one in {} of the others", words::count(u64::from(one_of))),
    };
    words::capital(&format!(
        "{failures}; the slowest {} good answers ({} %) {rest}. From the planned send time.",
        words::count(slow),
        words::trimmed(share, 1)
    ))
}

fn servers(picture: &Picture<'_>, scales: Scales) -> Panel {
    let lane_height = if scales.is_half { 18.0 } else { 22.0 };
    let arm = picture.arm;
    let (_, first) = arm.servers.first()?;
    let names: Vec<&String> = first.keys().collect();
    let frame = scales.frame(8.0 + lane_height * names.len() as f64 + 24.0, 4.0, 24.0);
    let x = scales.x(frame);
    let bottom = frame.height - frame.bottom;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"state of each server\">\n",
        frame.width, frame.height
    );
    for (lane, name) in names.into_iter().enumerate() {
        let top = frame.top + lane_height * lane as f64;
        let _infallible = writeln!(
            svg,
            "<text class=\"lane\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            frame.left - 6.0,
            top + lane_height / 2.0 + 4.0,
            escape(&short(name))
        );
        for (from, to, state) in stretches(arm, name, scales.end) {
            let (left, right) = (x.place(from), x.place(to));
            let _infallible = writeln!(
                svg,
                "<rect class=\"state {}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"/>",
                escape(state),
                top + 2.0,
                (right - left).max(1.0),
                lane_height - 4.0
            );
        }
    }
    for (at, name) in scales.ticks(frame, true) {
        let at = x.place(at);
        let _infallible = writeln!(
            svg,
            "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{}\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            bottom + 4.0,
            bottom + 18.0
        );
    }
    let _infallible =
        write!(svg, "<line class=\"cursor\" y1=\"{}\" y2=\"{bottom}\" visibility=\"hidden\"/>\n</svg>\n", frame.top);
    let unit = if scales.end >= words::LONG { "minutes:seconds" } else { "seconds" };
    let legend = ["up", "paused", "stopped", "starting"]
        .into_iter()
        .filter(|state| arm.servers.iter().any(|(_, states)| states.values().any(|known| known == state)))
        .map(|state| format!("<span><i class=\"key-{state}\"></i>{state}</span>"))
        .collect();
    Some(("Servers", legend, svg, format!("Looked at twice a second. Time axis in {unit} from the start of the load.")))
}

fn short(name: &str) -> String {
    if name == "postgres" { "postgres".to_owned() } else { name.chars().take(8).collect() }
}

/// The state of a server, with its begin and end.
fn stretches<'a>(arm: &ArmRun<'a>, name: &str, end: f64) -> Vec<(f64, f64, &'a str)> {
    let mut stretches: Vec<(f64, f64, &str)> = Vec::new();
    for (at, states) in &arm.servers {
        let at = at.max(0.0);
        if let Some(last) = stretches.last_mut() {
            last.1 = at;
        }
        match (states.get(name), stretches.last()) {
            (Some(state), Some((_, _, known))) if known == state => {
                if let Some(last) = stretches.last_mut() {
                    last.1 = end;
                }
            }
            (Some(state), _) => stretches.push((at, end, state)),
            (None, _) => {}
        }
    }
    stretches
}

/// The values under the pointer: the begin of a slice, in units of the picture, and its figures.
fn readings(picture: &Picture<'_>, scales: Scales) -> Vec<(f64, String)> {
    let frame = scales.frame(100.0, 0.0, 0.0);
    let x = scales.x(frame);
    let reading = |slice: &Slice| {
        let ends = ENDS.iter().zip(slice.ends).filter(|(_, count)| *count > 0);
        let mut lines: Vec<String> = vec![format!("at {}", words::at(slice.from))];
        lines.extend(ends.map(|((_, name), count)| format!("{name} {}/s", words::value(slice.rate(count), ""))));
        let percentiles = [("p50", slice.p50), ("p95", slice.p95)].into_iter();
        lines.extend(percentiles.filter_map(|(name, value)| Some(format!("{name} {}", words::value(value?, "ms")))));
        let done = picture.bands.iter().filter(|band| band.ordered < slice.to && band.end() > slice.from);
        lines.extend(done.map(|band| band.what.clone()));
        ((x.place(slice.from) * 10.0).round() / 10.0, lines.join("\n"))
    };
    picture.slices.iter().map(reading).collect()
}
