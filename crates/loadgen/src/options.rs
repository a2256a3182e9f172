//! The settings of a run that were given: the command line overrides a workload file, which overrides the defaults.

use std::time::Duration;

use crate::curve::Curve;
use crate::error::LoadError;
use crate::ids::Ids;
use crate::pacer::Arrivals;
use crate::plan::{DEFAULT_DURATION, Load, MAX_LENGTH, Plan, Retries, Statuses};
use crate::target::Target;
use crate::template::RequestSpec;

/// The rate of an open loop over time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Rate(f64),
    /// With fixed lengths.
    Stages(Curve),
    /// With a shape that can be stretched, for example a day to two minutes.
    Stretchable(Curve),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) connections: Option<usize>,
    pub(crate) threads: Option<usize>,
    pub(crate) requests: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) shape: Option<Shape>,
    pub(crate) arrivals: Option<Arrivals>,
    pub(crate) warmup: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) keep_alive: Option<bool>,
    pub(crate) seed: Option<u64>,
    pub(crate) success: Option<Statuses>,
    pub(crate) retries: Option<Retries>,
}

impl Options {
    /// Settings that are not given here are taken from `other`. The number of requests and the duration belong
    /// together: if one of them is given, it replaces both. A new shape also replaces the duration of the old one.
    pub(crate) fn or(self, other: Self) -> Self {
        let ends = self.requests.is_some() || self.duration.is_some();
        let reshaped = self.shape.is_some() && other.shape.is_some();
        Self {
            connections: self.connections.or(other.connections),
            threads: self.threads.or(other.threads),
            requests: if ends { self.requests } else { other.requests },
            duration: if ends || reshaped { self.duration } else { other.duration },
            shape: self.shape.or(other.shape),
            arrivals: self.arrivals.or(other.arrivals),
            warmup: self.warmup.or(other.warmup),
            timeout: self.timeout.or(other.timeout),
            keep_alive: self.keep_alive.or(other.keep_alive),
            seed: self.seed.or(other.seed),
            success: self.success.or(other.success),
            retries: self.retries.or(other.retries),
        }
    }

    /// The plan, with defaults for the other settings.
    ///
    /// # Errors
    /// The settings contradict each other or are out of bounds.
    pub(crate) fn plan(
        self,
        target: Target,
        requests: Vec<RequestSpec>,
        variables: Vec<(String, Ids)>,
    ) -> Result<Plan, LoadError> {
        let mut plan = Plan::new(target, requests, self.load()?);
        plan.variables = variables;
        plan.connections = self.connections.unwrap_or(plan.connections);
        plan.threads = self.threads.unwrap_or(plan.threads);
        plan.warmup = self.warmup.unwrap_or(plan.warmup);
        plan.timeout = self.timeout.unwrap_or(plan.timeout);
        plan.keep_alive = self.keep_alive.unwrap_or(plan.keep_alive);
        plan.seed = self.seed.unwrap_or(plan.seed);
        plan.success = self.success.unwrap_or(plan.success);
        plan.retries = self.retries.unwrap_or(plan.retries);
        plan.check()?;
        Ok(plan)
    }

    fn load(&self) -> Result<Load, LoadError> {
        let end = || match (self.duration, self.requests) {
            (None, None) => Some(DEFAULT_DURATION),
            (duration, _) => duration,
        };
        let curve = match &self.shape {
            None if self.arrivals.is_some() => {
                return Err(LoadError::setting(
                    "the spread of arrivals",
                    "needs an open loop: a rate, stages or a curve",
                ));
            }
            None => {
                return Ok(Load::Closed { requests: self.requests, duration: end() });
            }
            Some(Shape::Rate(rate)) => Curve::constant(*rate, end().unwrap_or(MAX_LENGTH))?,
            Some(Shape::Stages(_)) if self.duration.is_some() => {
                return Err(LoadError::setting("the duration", "is given by the stages already"));
            }
            Some(Shape::Stages(curve)) => curve.clone(),
            Some(Shape::Stretchable(curve)) => match self.duration {
                Some(length) if !length.is_zero() => curve.clone().stretched_to(length),
                _ => curve.clone(),
            },
        };
        Ok(Load::Open { curve, arrivals: self.arrivals.unwrap_or_default(), requests: self.requests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(options: Options) -> Result<Plan, LoadError> {
        let (target, path) = Target::parse("http://h/").unwrap();
        options.plan(target, vec![RequestSpec::get(path)], Vec::new())
    }

    #[test]
    fn the_command_line_goes_over_the_file() {
        let file = Options { requests: Some(100), connections: Some(10), ..Options::default() };
        let line = Options { duration: Some(SECOND), ..Options::default() };
        let merged = line.or(file.clone());
        assert_eq!((merged.requests, merged.duration, merged.connections), (None, Some(SECOND), Some(10)));
        let line = Options { shape: Some(Shape::Rate(50.0)), ..Options::default() };
        assert_eq!(plan(line.or(file)).unwrap().count(), Some(100), "so many requests, now at a rate");
    }

    #[test]
    fn without_an_end_it_takes_ten_seconds() {
        assert_eq!(plan(Options::default()).unwrap().length(), Some(DEFAULT_DURATION));
        let open = Options { shape: Some(Shape::Rate(5.0)), ..Options::default() };
        assert_eq!(plan(open.clone()).unwrap().length(), Some(DEFAULT_DURATION));
        assert_eq!(plan(Options { requests: Some(7), ..open }).unwrap().length(), None);
    }

    #[test]
    fn a_curve_is_stretched_and_stages_are_not() {
        let curve = Curve::parse("1:12h,2:12h").unwrap();
        let stretched =
            Options { shape: Some(Shape::Stretchable(curve.clone())), duration: Some(SECOND), ..Options::default() };
        assert_eq!(plan(stretched).unwrap().length(), Some(SECOND));
        let stages = Options { shape: Some(Shape::Stages(curve)), duration: Some(SECOND), ..Options::default() };
        assert!(plan(stages).unwrap_err().to_string().contains("stages"));
        assert!(plan(Options { arrivals: Some(Arrivals::Poisson), ..Options::default() }).is_err());
    }
}
