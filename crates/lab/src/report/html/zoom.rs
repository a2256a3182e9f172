//! The curves of an arm, finer than in the picture, to be zoomed into: the one part of the page that needs a script.

use crate::{
    journal::ArmRun,
    report::course::{self, Slice},
};

const LIBRARY: &str = include_str!("../../../assets/uplot/uPlot.iife.min.js");
const STYLE: &str = include_str!("../../../assets/uplot/uPlot.min.css");
const SCRIPT: &str = include_str!("zoom.js");
/// In a page that needs [`script`].
pub(super) const MARK: &str = "<details class=\"zoom\"";

/// One curve per word: times in s, rates per second, latencies in ms; nothing where there was no answer.
#[derive(serde::Serialize)]
struct Curves {
    at: Vec<f64>,
    good: Vec<f64>,
    bad: Vec<f64>,
    p50: Vec<Option<f64>>,
    p95: Vec<Option<f64>>,
}

/// Empty when it would show no more than the picture, which has `drawn` slices.
pub(super) fn details(arm: &ArmRun<'_>, drawn: usize) -> String {
    let slices = course::fine_slices(arm);
    if slices.len() < drawn * 2 {
        return String::new();
    }
    let curves = Curves {
        at: slices.iter().map(|slice| rounded(f64::midpoint(slice.from, slice.to))).collect(),
        good: slices.iter().map(|slice| rounded(slice.rate(slice.ends[0]))).collect(),
        bad: slices.iter().map(|slice| rounded(slice.rate(slice.bad()))).collect(),
        p50: slices.iter().map(|slice: &Slice| slice.p50.map(rounded)).collect(),
        p95: slices.iter().map(|slice: &Slice| slice.p95.map(rounded)).collect(),
    };
    let step = slices.first().map_or(0.0, |slice| slice.to - slice.from);
    format!(
        "{MARK} hidden><summary>Zoom: the same in steps of {}</summary>\n\
         <p class=\"caption\">Drag over a chart to zoom into both; a double click shows all again.</p>\n\
         <script type=\"application/json\">{}</script>\n</details>\n",
        crate::report::words::lasting(step),
        serde_json::to_string(&curves).unwrap_or_default()
    )
}

/// What a page needs once, when it has something to zoom into.
pub(super) fn script() -> String {
    format!("<style>\n{STYLE}</style>\n<script>\n{LIBRARY}\n{SCRIPT}</script>\n")
}

/// A third of a thousandth is less than a dot on the screen.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
