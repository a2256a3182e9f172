//! What a replica says of itself: Prometheus text, and what two readings of it tell about the time between them.

use std::time::Instant;

use crate::metrics;

/// One series: name, labels as they are written, value.
type Series = (String, String, f64);

/// One reading of `/metrics`.
#[derive(Debug, Clone)]
pub(super) struct Scrape {
    pub(super) at: Instant,
    series: Vec<Series>,
}

impl Scrape {
    /// Lines that are not series of numbers are left out.
    pub(super) fn parse(text: &str, at: Instant) -> Self {
        let split = |(series, value): (&str, f64)| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            (name.to_owned(), labels.strip_suffix('}').unwrap_or(labels).to_owned(), value)
        };
        Self { at, series: metrics::series(text).map(split).collect() }
    }

    fn of<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Series> {
        let has = |text: &str, (key, value): &(&str, &str)| label(text, key) == Some(*value);
        self.series
            .iter()
            .filter(move |(found, text, _)| found == name && labels.iter().all(|wanted| has(text, wanted)))
    }

    /// Over all series of this name with these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|(.., value)| value).sum()
    }

    /// `None`: there is no such series.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.of(name, labels).map(|(.., value)| *value).next()
    }

    /// Over the series of this name with these labels whose label `key` fits.
    pub(super) fn sum_where(&self, name: &str, labels: &[(&str, &str)], key: &str, fits: impl Fn(&str) -> bool) -> f64 {
        self.of(name, labels).filter(|(_, text, _)| label(text, key).is_some_and(&fits)).map(|(.., value)| value).sum()
    }

    /// The values of a label, once for each series.
    pub(super) fn labels<'a>(&'a self, name: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.of(name, &[]).filter_map(move |(_, text, _)| label(text, key))
    }

    /// Upper bounds and cumulative counts of a histogram, over all series with these labels.
    fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (_, text, count) in self.of(&name, labels) {
            let Some(bound) = label(text, "le").and_then(|bound| bound.parse::<f64>().ok()) else { continue };
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, *count)),
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
    }
}

/// The value of a label in `a="x",b="y"`; the label sets of the API are closed and need no escapes.
fn label<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        if name.trim_start_matches([',', ' ']) == key {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// Two readings of one process, and the seconds between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between<'a> {
    before: &'a Scrape,
    after: &'a Scrape,
}

impl<'a> Between<'a> {
    /// `None` when the process was started anew in between: its counters began at zero.
    pub(super) fn new(before: &'a Scrape, after: &'a Scrape) -> Option<Self> {
        let start = |scrape: &Scrape| scrape.value("process_start_time_seconds", &[]);
        (start(before) == start(after) && after.at > before.at).then_some(Self { before, after })
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.after.at - self.before.at).as_secs_f64()
    }

    /// How much a counter grew.
    pub(super) fn growth(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        (self.after.sum(name, labels) - self.before.sum(name, labels)).max(0.0)
    }

    pub(super) fn growth_where(&self, name: &str, key: &str, fits: impl Fn(&str) -> bool + Copy) -> f64 {
        (self.after.sum_where(name, &[], key, fits) - self.before.sum_where(name, &[], key, fits)).max(0.0)
    }

    /// In seconds; interpolated within its bucket. `None`: nothing was observed.
    pub(super) fn quantile(&self, quantile: f64, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let before = self.before.buckets(name, labels);
        let earlier =
            |bound: f64| before.iter().find(|(known, _)| known.total_cmp(&bound).is_eq()).map_or(0.0, |b| b.1);
        let buckets: Vec<(f64, f64)> = self
            .after
            .buckets(name, labels)
            .into_iter()
            .map(|(bound, count)| (bound, count - earlier(bound)))
            .collect();
        let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let rank = quantile * total;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank {
                let part = if count > below { (rank - below) / (count - below) } else { 1.0 };
                return Some(if bound.is_finite() { low + (bound - low) * part } else { low });
            }
            (low, below) = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BEFORE: &str = "# HELP x y\nx{a=\"1\",b=\"2\"} 3\nx{a=\"1\",b=\"3\"} 4\nprocess_start_time_seconds 7\n\
        t_bucket{le=\"0.1\"} 10\nt_bucket{le=\"0.2\"} 10\nt_bucket{le=\"+Inf\"} 10\n";
    const AFTER: &str = "x{a=\"1\",b=\"2\"} 5\nx{a=\"1\",b=\"3\"} 4\nprocess_start_time_seconds 7\n\
        t_bucket{le=\"0.1\"} 20\nt_bucket{le=\"0.2\"} 30\nt_bucket{le=\"+Inf\"} 30\n";

    #[test]
    fn counters_grow_and_histograms_are_read_between_two_readings() {
        let start = Instant::now();
        let before = Scrape::parse(BEFORE, start);
        let after = Scrape::parse(AFTER, start + Duration::from_secs(2));
        let between = Between::new(&before, &after).unwrap();
        assert_eq!(between.growth("x", &[("b", "2")]), 2.0);
        assert_eq!(between.growth("x", &[]), 2.0);
        assert_eq!(between.growth_where("x", "b", |b| b == "3"), 0.0);
        assert_eq!(between.quantile(0.5, "t", &[]), Some(0.1));
        assert!((between.quantile(0.75, "t", &[]).unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(between.quantile(0.5, "nothing", &[]), None);
    }

    #[test]
    fn a_process_that_was_started_anew_is_not_compared() {
        let start = Instant::now();
        let before = Scrape::parse("process_start_time_seconds 7\n", start);
        let after = Scrape::parse("process_start_time_seconds 8\n", start + Duration::from_secs(1));
        assert!(Between::new(&before, &after).is_none());
    }

    #[test]
    fn a_label_is_found_by_its_whole_name() {
        assert_eq!(label("aa=\"1\",a=\"2\"", "a"), Some("2"));
        assert_eq!(label("a=\"1\"", "b"), None);
        assert_eq!(label("", "b"), None);
    }
}
