//! The area of a plot and its axes: maps values to pixels.

/// The size of a plot and its margins for labels, in the units of its picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Frame {
    /// As wide as a page.
    pub const PAGE: Self = Self { width: 920.0, height: 260.0, left: 64.0, right: 12.0, top: 10.0, bottom: 30.0 };

    /// From left to right.
    #[must_use]
    pub fn x(&self, from: f64, to: f64) -> Axis {
        Axis { from, to: to.max(from + 1e-9), is_log: false, pixels: (self.left, self.width - self.right) }
    }

    /// From zero to slightly more than the largest value.
    #[must_use]
    pub fn y(&self, largest: f64) -> Axis {
        let to = if largest > 0.0 { largest * 1.08 } else { 1.0 };
        Axis { from: 0.0, to, is_log: false, pixels: self.vertical() }
    }

    /// Logarithmic, for values of very different sizes.
    #[must_use]
    pub fn y_log(&self, smallest: f64, largest: f64) -> Axis {
        Axis { from: smallest / 1.2, to: largest * 1.3, is_log: true, pixels: self.vertical() }
    }

    fn vertical(&self) -> (f64, f64) {
        (self.height - self.bottom, self.top)
    }
}

/// One axis: maps values to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    pixels: (f64, f64),
}

impl Axis {
    /// The position of a value, in the units of the picture.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// Round values for the labels of the axis.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.is_log {
            let mut decade = 10_f64.powf(self.from.log10().floor());
            // With less than two decades, powers of ten alone would be too few labels.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let page = Frame::PAGE;
        assert_eq!(page.x(0.0, 30.0).ticks(), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(page.y(900.0).ticks(), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!(page.y_log(0.9, 1_200.0).ticks(), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(page.y_log(3.0, 30.0).ticks(), [5.0, 10.0, 20.0]);
        for largest in [0.0, 1e-6, 0.3, 7.0, 1e9] {
            assert!((2..=8).contains(&page.y(largest).ticks().len()), "{largest}");
        }
    }
}
