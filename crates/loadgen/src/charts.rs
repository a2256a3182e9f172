//! Plots as static SVG: a frame with axes, and steps, areas and curves in it, for every page that this project writes. They
//! need no network and no library; colours come from [`STYLE`], by class, in light and dark, and [`SCRIPT`] only reads values
//! off under the pointer.

use std::fmt::Write as _;

/// The style of a page with plots, to be put into a `style` element.
pub const STYLE: &str = include_str!("charts/style.css");
/// What shows the values under the pointer, to be put into a `script` element at the end of the page.
pub const SCRIPT: &str = include_str!("charts/script.js");

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;

/// One axis: values to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    pixels: (f64, f64),
}

impl Axis {
    /// From left to right.
    #[must_use]
    pub fn x(from: f64, to: f64) -> Self {
        Self { from, to: to.max(from + 1e-9), is_log: false, pixels: (LEFT, WIDTH - RIGHT) }
    }

    /// From zero to a little more than the largest value.
    #[must_use]
    pub fn y(largest: f64) -> Self {
        Self {
            from: 0.0,
            to: if largest > 0.0 { largest * 1.08 } else { 1.0 },
            is_log: false,
            pixels: (HEIGHT - BOTTOM, TOP),
        }
    }

    /// In powers of ten, for values far apart.
    #[must_use]
    pub fn y_log(smallest: f64, largest: f64) -> Self {
        Self { from: smallest / 1.2, to: largest * 1.3, is_log: true, pixels: (HEIGHT - BOTTOM, TOP) }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// Round values to write beside the axis.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.is_log {
            let mut decade = 10_f64.powf(self.from.log10().floor());
            // Where less than two decades are shown, powers of ten alone would be too few.
            let steps: &[f64] = if self.to / self.from < 100.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            while decade <= self.to {
                ticks
                    .extend(steps.iter().map(|step| step * decade).filter(|tick| (self.from..=self.to).contains(tick)));
                decade *= 10.0;
            }
            return ticks;
        }
        let rough = (self.to - self.from) / 5.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * decade).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.from / step).ceil() as i64;
        ticks.extend((first..).map(|n| n as f64 * step).take_while(|tick| *tick <= self.to));
        ticks
    }
}

/// A plot under construction.
#[derive(Debug)]
pub struct Plot {
    svg: String,
    x: Axis,
    y: Axis,
    legend: Vec<(String, String)>,
}

impl Plot {
    /// An empty plot with round values beside its axes.
    #[must_use]
    pub fn new(x: Axis, y: Axis, x_label: impl Fn(f64) -> String, y_label: impl Fn(f64) -> String) -> Self {
        let ticks = x.ticks();
        Self::with_ticks(x, y, ticks.into_iter().map(|tick| (tick, x_label(tick))), y_label)
    }

    /// An empty plot whose x axis is marked at these values only.
    #[must_use]
    pub fn with_ticks(
        x: Axis,
        y: Axis,
        x_ticks: impl IntoIterator<Item = (f64, String)>,
        y_label: impl Fn(f64) -> String,
    ) -> Self {
        let mut plot = Self { svg: String::new(), x, y, legend: Vec::new() };
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in y.ticks() {
            let at = y.place(tick);
            plot.push(format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            ));
            plot.push(format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                y_label(tick)
            ));
        }
        for (tick, label) in x_ticks {
            let at = x.place(tick);
            plot.push(format_args!(
                "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{}\"/>",
                bottom + 4.0
            ));
            plot.push(format_args!(
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                bottom + 18.0
            ));
        }
        plot.push(format_args!("<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"));
        plot
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _infallible = writeln!(self.svg, "{element}");
    }

    fn name(&mut self, class: &str, name: &str) {
        self.legend.push((class.to_owned(), name.to_owned()));
    }

    /// A value per step of time, as a line with a gap where there is none.
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

    /// The area between two heights, step by step.
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

    /// A bound, from one side to the other.
    pub fn bound(&mut self, value: f64, name: &str) {
        let (at, right) = (self.y.place(value), WIDTH - RIGHT);
        self.push(format_args!("<line class=\"bound\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
        let text = escape(name);
        self.push(format_args!(
            "<text class=\"bound\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            at - 5.0
        ));
    }

    /// The figure with its heading, legend and explanation. `readings` is what the script shows under the pointer: for
    /// each step its begin on the x axis and the values there.
    #[must_use]
    pub fn figure(self, title: &str, caption: &str, readings: &[(f64, String)]) -> String {
        let legend: String = self
            .legend
            .iter()
            .map(|(class, name)| format!("<span><i class=\"{class}\"></i>{}</span>", escape(name)))
            .collect();
        let places: Vec<(f64, &str)> =
            readings.iter().map(|(x, text)| ((self.x.place(*x) * 10.0).round() / 10.0, text.as_str())).collect();
        // Inside a script element only `<` could end it.
        let data = serde_json::to_string(&places).unwrap_or_default().replace('<', "\\u003c");
        format!(
            "<figure>\n<figcaption><h2>{title}</h2><div class=\"legend\">{legend}</div></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n{svg}\
             <line class=\"cursor\" y1=\"{TOP}\" y2=\"{}\" visibility=\"hidden\"/>\n</svg>\n\
             <p class=\"caption\">{caption}</p>\n<script type=\"application/json\">{data}</script>\n</figure>\n",
            HEIGHT - BOTTOM,
            svg = self.svg,
        )
    }
}

/// Text from outside (a server's names, a URL) as text and nothing else.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Axis::x(0.0, 30.0).ticks(), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(Axis::y(900.0).ticks(), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!(Axis::y_log(0.9, 1_200.0).ticks(), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(Axis::y_log(3.0, 30.0).ticks(), [5.0, 10.0, 20.0]);
        for largest in [0.0, 1e-6, 0.3, 7.0, 1e9] {
            assert!((2..=8).contains(&Axis::y(largest).ticks().len()), "{largest}");
        }
    }
}
