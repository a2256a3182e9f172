//! Reads the replicas' `/metrics` for a journal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use stack::Endpoints;

/// A replica that hangs must not delay the others.
const WITHIN: Duration = Duration::from_millis(250);

/// Series by replica. A replica that does not answer is missing.
pub(crate) type Reading = BTreeMap<String, BTreeMap<String, f64>>;

/// Reads every replica now.
pub(crate) fn read(endpoints: &Endpoints) -> Reading {
    let read = |url: &str| stack::get(url, WITHIN).ok().filter(|answer| answer.status == 200).map(|it| parse(&it.body));
    let replicas = endpoints.replicas.iter();
    replicas.filter_map(|replica| Some((replica.name.to_string(), read(&replica.metrics_url())?))).collect()
}

/// Every series except the buckets and sums of histograms, which no hypothesis uses and which are most of the text.
pub(crate) fn parse(text: &str) -> BTreeMap<String, f64> {
    let is_read = |series: &str| {
        let name = series.split('{').next().unwrap_or(series);
        !name.ends_with("_bucket") && !name.ends_with("_sum")
    };
    series(text).filter(|(series, _)| is_read(series)).map(|(series, value)| (series.to_owned(), value)).collect()
}

/// Each series of Prometheus text, as it is written, with its value. Lines that are none are left out.
pub(crate) fn series(text: &str) -> impl Iterator<Item = (&str, f64)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.trim().rsplit_once(' ')?;
        Some((series, value.parse().ok()?))
    })
}

/// One series of one replica now.
pub(crate) fn value(metrics_url: &str, series: &str) -> Option<f64> {
    let answer = stack::get(metrics_url, WITHIN).ok()?;
    let all = parse(&answer.body);
    all.iter().filter(|(name, _)| belongs(name, series)).map(|(_, value)| *value).reduce(|sum, value| sum + value)
}

/// Whether a series matches: `name{label="value",…}` with some of its labels, or a bare name, which matches all of its
/// label sets.
pub(crate) fn belongs(series: &str, wanted: &str) -> bool {
    let Some((name, labels)) = wanted.split_once('{') else {
        return series.split('{').next() == Some(wanted);
    };
    let Some((other, rest)) = series.split_once('{') else { return false };
    let mut labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
    name == other && labels.all(|label| rest.trim_end_matches('}').split(',').any(|known| known.trim() == label.trim()))
}

/// The values that have changed since the last reading: a journal holds each value once.
#[derive(Debug, Default)]
pub(crate) struct Changes(Reading);

impl Changes {
    pub(crate) fn of(&mut self, reading: Reading) -> Reading {
        let mut changes = Reading::new();
        for (replica, series) in reading {
            let known = self.0.entry(replica.clone()).or_default();
            let new = series.into_iter().filter(|(name, value)| known.insert(name.clone(), *value) != Some(*value));
            // A replica without changes has still answered.
            changes.insert(replica, new.collect());
        }
        changes
    }
}

/// The interval of readings for a run of this length: at most a few hundred readings.
pub(crate) fn every(length: Duration) -> Duration {
    (length / 300).max(Duration::from_secs(1))
}

/// Waits until a time or a request for an immediate reading, whichever comes first.
pub(crate) fn wait(until: Instant, asked: &std::sync::mpsc::Receiver<()>) -> Wake {
    match asked.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(()) => {
            // One reading answers all requests so far.
            while asked.try_recv().is_ok() {}
            Wake::Asked
        }
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Wake::Time,
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Wake::Over,
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    Asked,
    Time,
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a b\nrequests_total{route=\"/data\",code=\"200\"} 12\nduration_bucket{le=\"1\"} 4\nduration_sum 3\nup 1\nbad x\n";

    #[test]
    fn series_are_read_without_buckets() {
        let all = parse(TEXT);
        assert_eq!(all.len(), 2);
        assert_eq!(all["requests_total{route=\"/data\",code=\"200\"}"], 12.0);
    }

    #[test]
    fn a_series_is_chosen_by_name_and_labels() {
        let hit = "cache_requests_total{cache=\"record\",result=\"hit\"}";
        assert!(belongs(hit, "cache_requests_total"));
        assert!(belongs(hit, "cache_requests_total{result=\"hit\"}"));
        assert!(belongs(hit, "cache_requests_total{result=\"hit\",cache=\"record\"}"));
        assert!(!belongs(hit, "cache_requests_total{result=\"miss\"}"));
        assert!(!belongs(hit, "cache_requests"));
        assert!(!belongs("cache_requests_total", "cache_requests_total{result=\"hit\"}"));
    }

    #[test]
    fn a_value_is_journalled_when_it_changes() {
        let reading = |value: f64| {
            Reading::from([("api-1".to_owned(), BTreeMap::from([("a".to_owned(), value), ("b".to_owned(), 1.0)]))])
        };
        let mut changes = Changes::default();
        assert_eq!(changes.of(reading(1.0)), reading(1.0));
        assert_eq!(changes.of(reading(1.0))["api-1"].len(), 0);
        assert_eq!(changes.of(reading(2.0))["api-1"], BTreeMap::from([("a".to_owned(), 2.0)]));
    }
}
