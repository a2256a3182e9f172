//! Plots as static SVG: a frame with axes, and steps, areas and curves in it, for every page of this project. They need
//! no network and no library. Colours come from the CSS classes of [`STYLE`], in light and dark; [`SCRIPT`] only shows
//! the values under the pointer.

mod axis;

use std::fmt::Write as _;

pub use self::axis::{Axis, Frame};

/// The style of a page with plots, for a `style` element.
pub const STYLE: &str = include_str!("charts/style.css");
/// Shows the values under the pointer; for a `script` element at the end of the page.
pub const SCRIPT: &str = include_str!("charts/script.js");

/// A plot under construction.
#[derive(Debug)]
pub struct Plot {
    frame: Frame,
    svg: String,
    x: Axis,
    y: Axis,
    legend: Vec<(String, String)>,
}

impl Plot {
    /// An empty plot with round values on its axes, which come from the frame.
    #[must_use]
    pub fn new(
        frame: Frame,
        x: Axis,
        y: Axis,
        x_label: impl Fn(f64) -> String,
        y_label: impl Fn(f64) -> String,
    ) -> Self {
        let ticks = x.ticks();
        Self::with_ticks(frame, x, y, ticks.into_iter().map(|tick| (tick, x_label(tick))), y_label)
    }

    /// An empty plot whose x axis has only these marks. A mark without a text is a line over the whole height.
    #[must_use]
    pub fn with_ticks(
        frame: Frame,
        x: Axis,
        y: Axis,
        x_ticks: impl IntoIterator<Item = (f64, String)>,
        y_label: impl Fn(f64) -> String,
    ) -> Self {
        let mut plot = Self { frame, svg: String::new(), x, y, legend: Vec::new() };
        let (left, bottom, right) = (frame.left, frame.height - frame.bottom, frame.width - frame.right);
        for tick in y.ticks() {
            let at = y.place(tick);
            plot.push(format_args!(
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            ));
            plot.push(format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                at + 4.0,
                y_label(tick)
            ));
        }
        for (tick, label) in x_ticks {
            let at = x.place(tick);
            if label.is_empty() {
                let top = frame.top;
                plot.push(format_args!(
                    "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"
                ));
                continue;
            }
            plot.push(format_args!(
                "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{}\"/>",
                bottom + 4.0
            ));
            plot.push(format_args!(
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                bottom + 18.0
            ));
        }
        plot.push(format_args!("<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"));
        plot
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.svg, "{element}");
    }

    fn name(&mut self, class: &str, name: &str) {
        self.legend.push((class.to_owned(), name.to_owned()));
    }

    /// A value per step of time, as a line with a gap where there is no value.
    pub fn steps(&mut self, class: &str, name: &str, steps: &[(f64, f64, Option<f64>)]) {
        let mut path = String::new();
        let mut is_open = false;
        for (from, to, value) in steps {
            let Some(value) = value else {
                is_open = false;
                continue;
            };
            let (left, right, at) = (self.x.place(*from), self.x.place(*to), self.y.place(*value));
            let _infallible = write!(path, "{}{left:.1},{at:.1}H{right:.1}", if is_open { 'L' } else { 'M' });
            is_open = true;
        }
        if !path.is_empty() {
            self.push(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
            self.name(class, name);
        }
    }

    /// The area between two values, step by step.
    pub fn band(&mut self, class: &str, name: &str, steps: &[(f64, f64, f64, f64)]) {
        let mut path = String::new();
        for (from, to, low, high) in steps.iter().filter(|(_, _, low, high)| high > low) {
            let (left, right) = (self.x.place(*from), self.x.place(*to));
            let (bottom, top) = (self.y.place(*low), self.y.place(*high));
            let _infallible = write!(path, "M{left:.1},{bottom:.1}V{top:.1}H{right:.1}V{bottom:.1}Z");
        }
        if !path.is_empty() {
            self.push(format_args!("<path class=\"band {class}\" d=\"{path}\"/>"));
            self.name(class, name);
        }
    }

    /// A line through points.
    pub fn curve(&mut self, class: &str, name: &str, points: &[(f64, f64)]) {
        let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", self.x.place(*x), self.y.place(*y));
        let path: Vec<String> = points.iter().map(place).collect();
        if !path.is_empty() {
            self.push(format_args!("<path class=\"line {class}\" d=\"M{}\"/>", path.join("L")));
            self.name(class, name);
        }
    }

    /// Single values, one dot each. Dots at the same place are drawn once.
    pub fn dots(&mut self, class: &str, name: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        // Half a unit is less than the width of a dot.
        let grid = |value: f64| (value * 2.0).round() as i64;
        let place = |(x, y): (f64, f64)| (grid(self.x.place(x)), grid(self.y.place(y)));
        let places: std::collections::BTreeSet<(i64, i64)> = points.into_iter().map(place).collect();
        let mut path = String::new();
        for (x, y) in places {
            let _infallible = write!(path, "M{},{}h0", x as f64 / 2.0, y as f64 / 2.0);
        }
        if !path.is_empty() {
            self.push(format_args!("<path class=\"dots {class}\" d=\"{path}\"/>"));
            self.name(class, name);
        }
    }

    /// A range of the x axis over the whole height; never narrower than a line, so that a short one is visible.
    pub fn region(&mut self, class: &str, from: f64, to: f64) {
        const NARROWEST: f64 = 1.5;
        let (left, right) = (self.x.place(from), self.x.place(to));
        let (top, height) = (self.frame.top, self.frame.height - self.frame.top - self.frame.bottom);
        let width = (right - left).max(NARROWEST);
        self.push(format_args!(
            "<rect class=\"region {class}\" x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"/>"
        ));
    }

    /// A text at a position in the units of the picture.
    pub fn word(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), word: &str) {
        let word = escape(word);
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{word}</text>"
        ));
    }

    /// A bound, drawn as a line across the plot.
    pub fn bound(&mut self, value: f64, name: &str) {
        let (at, left, right) = (self.y.place(value), self.frame.left, self.frame.width - self.frame.right);
        self.push(format_args!("<line class=\"bound\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
        let text = escape(name);
        self.push(format_args!(
            "<text class=\"bound\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            at - 5.0
        ));
    }

    /// The legend: the name of each class with its colour.
    #[must_use]
    pub fn legend(&self) -> String {
        let entry =
            |(class, name): &(String, String)| format!("<span><i class=\"{class}\"></i>{}</span>", escape(name));
        self.legend.iter().map(entry).collect()
    }

    /// The picture alone, with a cursor for the script.
    #[must_use]
    pub fn svg(&self, label: &str) -> String {
        let Frame { width, height, top, bottom, .. } = self.frame;
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n{}\
             <line class=\"cursor\" y1=\"{top}\" y2=\"{}\" visibility=\"hidden\"/>\n</svg>\n",
            self.svg,
            height - bottom,
        )
    }

    /// The figure with its heading, legend and description. `readings` are the values that the script shows: for each
    /// step its beginning on the x axis and its values.
    #[must_use]
    pub fn figure(self, title: &str, caption: &str, readings: &[(f64, String)]) -> String {
        let legend = self.legend();
        let places: Vec<(f64, &str)> =
            readings.iter().map(|(x, text)| ((self.x.place(*x) * 10.0).round() / 10.0, text.as_str())).collect();
        // Inside a script element only `<` could end it.
        let data = serde_json::to_string(&places).unwrap_or_default().replace('<', "\\u003c");
        format!(
            "<figure>\n<figcaption><h2>{title}</h2><div class=\"legend\">{legend}</div></figcaption>\n{}\
             <p class=\"caption\">{caption}</p>\n<script type=\"application/json\">{data}</script>\n</figure>\n",
            self.svg(title),
        )
    }
}

/// Escapes text from outside (a server's names, a URL).
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
