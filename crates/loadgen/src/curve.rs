//! A request rate over time, and the question that an open loop asks of it: when is the k-th arrival due?
//!
//! A curve is a sequence of linear pieces. The area under it up to a moment is the number of arrivals due by then, so
//! the k-th arrival is due when the area reaches k. This is exact for any shape, and rounding errors do not accumulate
//! over a long run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::error::LoadError;

/// A linear piece: from one rate to another, in requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub from: f64,
    pub to: f64,
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    stages: Vec<Stage>,
}

/// Above this rate the loop would only measure itself.
pub(crate) const MAX_RATE: f64 = 1_000_000.0;
const MAX_STAGES: usize = 10_000;

impl Curve {
    /// A constant rate.
    ///
    /// # Errors
    /// The rate is out of bounds, or the length is zero.
    pub fn constant(rate: f64, length: Duration) -> Result<Self, LoadError> {
        Self::new(vec![Stage { from: rate, to: rate, seconds: length.as_secs_f64() }])
    }

    /// # Errors
    /// There are no stages or too many, a stage has a rate or a length out of bounds, or the curve has no arrival.
    pub fn new(stages: Vec<Stage>) -> Result<Self, LoadError> {
        let fail = |reason: String| Err(LoadError::setting("the rate", reason));
        if stages.is_empty() || stages.len() > MAX_STAGES {
            return fail(format!("needs 1 to {MAX_STAGES} stages, not {}", stages.len()));
        }
        for stage in &stages {
            for rate in [stage.from, stage.to] {
                if !(0.0..=MAX_RATE).contains(&rate) {
                    return fail(format!("must be between 0 and {MAX_RATE} requests per second, not {rate}"));
                }
            }
            if !(stage.seconds > 0.0 && stage.seconds <= 7.0 * 86_400.0) {
                return fail(format!("cannot be held for {} s: a stage lasts up to a week", stage.seconds));
            }
        }
        let curve = Self { stages };
        if curve.arrivals() <= 0.0 {
            return fail("is zero all the time: nothing would be sent".to_owned());
        }
        Ok(curve)
    }

    /// Parses `100:10s,100..500:30s`: rate and length, or a ramp from one rate to another.
    ///
    /// # Errors
    /// A message that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let stage = |part: &str| {
            let example = || format!("{part:?} is not a stage, for example 100:10s or the ramp 100..500:30s");
            let (rate, length) = part.trim().split_once(':').ok_or_else(example)?;
            let (from, to) = rate.split_once("..").unwrap_or((rate, rate));
            let rate = |text: &str| text.trim().parse::<f64>().map_err(|_| example());
            let seconds = duration::parse(length)?.as_secs_f64();
            Ok::<_, String>(Stage { from: rate(from)?, to: rate(to)?, seconds })
        };
        let stages = text.split(',').map(stage).collect::<Result<Vec<_>, _>>()?;
        Self::new(stages).map_err(|error| error.to_string())
    }

    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.stages.iter().map(|s| s.seconds).sum())
    }

    /// The number of arrivals in total, as the area under the curve.
    #[must_use]
    pub fn arrivals(&self) -> f64 {
        self.stages.iter().map(Stage::area).sum()
    }

    /// The same shape with another length, for example a day in two minutes. Rates are not changed.
    #[must_use]
    pub fn stretched_to(mut self, length: Duration) -> Self {
        let factor = length.as_secs_f64() / self.length().as_secs_f64();
        for stage in &mut self.stages {
            stage.seconds *= factor;
        }
        self
    }

    /// The curve, preceded by its initial rate for `warmup`.
    #[must_use]
    pub fn warmed_up(mut self, warmup: Duration) -> Self {
        if !warmup.is_zero() {
            let rate = self.stages[0].from;
            self.stages.insert(0, Stage { from: rate, to: rate, seconds: warmup.as_secs_f64() });
        }
        self
    }

    /// Computes due times; it only moves forward.
    pub(crate) fn clock(&self) -> CurveClock {
        CurveClock { stages: self.stages.clone(), at: 0, seconds_before: 0.0, area_before: 0.0 }
    }
}

impl Stage {
    fn area(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.seconds
    }

    /// The time within the stage at which the area under it reaches `area`.
    fn reaches(&self, area: f64) -> f64 {
        // from·t + slope/2·t² = area, in the form that neither divides by a zero slope nor loses digits to
        // cancellation.
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        if self.from + root > 0.0 { (2.0 * area / (self.from + root)).min(self.seconds) } else { 0.0 }
    }
}

/// Returns the time at which the area under the curve is x; x must not decrease from call to call.
#[derive(Clone, Debug)]
pub(crate) struct CurveClock {
    stages: Vec<Stage>,
    at: usize,
    seconds_before: f64,
    area_before: f64,
}

/// Prevents a rounding error from repeating or losing the last arrival when their number is whole.
const EPSILON: f64 = 1e-6;

impl CurveClock {
    pub(crate) fn when(&mut self, area: f64) -> Option<Duration> {
        while let Some(stage) = self.stages.get(self.at) {
            if area < self.area_before + stage.area() - EPSILON {
                let within = stage.reaches((area - self.area_before).max(0.0));
                return Some(Duration::from_secs_f64(self.seconds_before + within));
            }
            self.area_before += stage.area();
            self.seconds_before += stage.seconds;
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(curve: &Curve) -> Vec<f64> {
        let mut clock = curve.clock();
        (0..).map_while(|k| clock.when(f64::from(k))).map(|d| d.as_secs_f64()).collect()
    }

    #[test]
    fn an_even_rate_is_spread_evenly_and_complete() {
        let times = due(&Curve::constant(500.0, Duration::from_secs(10)).unwrap());
        assert_eq!(times.len(), 5_000);
        for (k, time) in times.iter().enumerate() {
            assert!((time - k as f64 / 500.0).abs() < 1e-6, "arrival {k} at {time}");
        }
    }

    #[test]
    fn a_ramp_sends_the_area_under_it() {
        let curve = Curve::parse("0..100:10s,0:5s,100:1s").unwrap();
        let times = due(&curve);
        assert_eq!(times.len(), 600);
        assert!((times[125] - 5.0).abs() < 0.01, "a quarter of the ramp's area at half its time: {}", times[125]);
        assert!(!times.iter().any(|t| (10.001..15.0).contains(t)), "nothing in the pause");
    }

    #[test]
    fn compresses_a_day() {
        let day = Curve::parse("10..20:12h,20..10:12h").unwrap().stretched_to(Duration::from_secs(120));
        assert_eq!(day.length(), Duration::from_secs(120));
        assert!((day.arrivals() - 15.0 * 120.0).abs() < 1e-6);
    }

    #[test]
    fn refuses_absurd_rates() {
        for text in ["", "100", "100:0s", "-1:1s", "0:10s", "1e9:1s", "NaN:1s", "1:30000h", "a..b:1s", "1..:1s"] {
            assert!(Curve::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Arrivals are in order, within the curve, and as many as its area.
        #[test]
        fn arrivals_follow_the_curve(parts in prop::collection::vec((0.0..300.0, 0.0..300.0, 0.01..3.0), 1..6)) {
            let stages = parts.into_iter().map(|(from, to, seconds)| Stage { from, to, seconds }).collect();
            if let Ok(curve) = Curve::new(stages) {
                let times = due(&curve);
                prop_assert!(times.is_sorted());
                prop_assert!((times.len() as f64 - curve.arrivals()).abs() <= 1.0 + 1e-3);
                prop_assert!(times.last().is_none_or(|t| *t <= curve.length().as_secs_f64() + 1e-6));
            }
        }
    }
}
