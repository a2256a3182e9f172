//! The last quarter of an hour, one point a second, and the faults in it. Kept by the server and sent first, so that a
//! reload and a second viewer see the same.

use std::collections::VecDeque;

use serde::{Serialize, Serializer, ser::SerializeSeq};
use stack::{ActiveFault, Healed, Target};
use time::OffsetDateTime;

/// Fifteen minutes.
pub(super) const LONGEST: usize = 900;

/// One second. `None` where nothing was measured: a gap in the chart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Point {
    /// Never used twice in the life of a console.
    pub(super) id: u64,
    /// Seconds since 1970.
    pub(super) at: f64,
    /// Answers per second, by outcome.
    pub(super) good: Option<f64>,
    pub(super) client_errors: Option<f64>,
    pub(super) refused: Option<f64>,
    pub(super) server_errors: Option<f64>,
    pub(super) gave_up: Option<f64>,
    /// Of good answers, as nginx measured them.
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Reads per second, by what the cache said.
    pub(super) hit: Option<f64>,
    pub(super) stale: Option<f64>,
    pub(super) miss: Option<f64>,
    pub(super) bypass: Option<f64>,
}

impl Point {
    pub(super) fn total(&self) -> f64 {
        [self.good, self.client_errors, self.refused, self.server_errors, self.gave_up].into_iter().flatten().sum()
    }

    /// What the service owed and did not give: 5xx and 429. A 4xx is the client's own fault.
    pub(super) fn failed(&self) -> f64 {
        [self.refused, self.server_errors].into_iter().flatten().sum()
    }
}

/// As an array, in the order of the fields: the charts' columns.
impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = [
            self.good,
            self.client_errors,
            self.refused,
            self.server_errors,
            self.gave_up,
            self.p50_ms,
            self.p95_ms,
            self.p99_ms,
            self.hit,
            self.stale,
            self.miss,
            self.bypass,
        ];
        let mut sequence = serializer.serialize_seq(Some(values.len() + 1))?;
        sequence.serialize_element(&round(self.at))?;
        for value in values {
            sequence.serialize_element(&value.map(round))?;
        }
        sequence.end()
    }
}

/// More digits than are measured only make the stream longer.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A fault over time, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Band {
    #[serde(skip)]
    id: u64,
    #[serde(skip)]
    target: Target,
    #[serde(skip)]
    kind: &'static str,
    pub(super) label: String,
    pub(super) ordered: f64,
    pub(super) effect: Option<f64>,
    pub(super) undone: Option<f64>,
    pub(super) recovered: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    bands: VecDeque<Band>,
    last_id: u64,
    /// When the bands changed last, as the id of a point.
    bands_changed: u64,
}

pub(super) fn seconds(moment: OffsetDateTime) -> f64 {
    moment.unix_timestamp_nanos() as f64 / 1e9
}

impl History {
    /// Returns the point's id.
    pub(super) fn push(&mut self, mut point: Point) -> u64 {
        self.last_id += 1;
        point.id = self.last_id;
        let oldest = point.at - LONGEST as f64;
        self.points.push_back(point);
        while self.points.len() > LONGEST {
            self.points.pop_front();
        }
        let before = self.bands.len();
        self.bands.retain(|band| band.recovered.is_none_or(|end| end > oldest));
        if self.bands.len() != before {
            self.bands_changed = self.last_id;
        }
        self.last_id
    }

    pub(super) fn points(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter()
    }

    /// Those that came after this one; all when it is not known.
    pub(super) fn since(&self, id: u64) -> Vec<Point> {
        self.points.iter().filter(|point| point.id > id).copied().collect()
    }

    /// All bands, if any changed after this point.
    pub(super) fn bands_since(&self, id: u64) -> Option<Vec<Band>> {
        (self.bands_changed >= id).then(|| self.bands.iter().cloned().collect())
    }

    /// Takes in what the ledger says now. What is gone from it without a word was undone from elsewhere.
    pub(super) fn reconcile(&mut self, faults: &[ActiveFault], now: f64) {
        let before = self.bands.clone();
        for fault in faults {
            let effect = fault.took_effect_at.map(seconds);
            match self.bands.iter_mut().find(|band| band.id == fault.id && band.kind == fault.kind.name()) {
                Some(band) => band.effect = effect,
                None => self.bands.push_back(Band {
                    id: fault.id,
                    target: fault.target,
                    kind: fault.kind.name(),
                    label: format!("{} {}", fault.kind.name(), fault.target),
                    ordered: seconds(fault.asked_at),
                    effect,
                    undone: None,
                    recovered: None,
                }),
            }
        }
        for band in self.bands.iter_mut().filter(|band| band.recovered.is_none()) {
            if !faults.iter().any(|fault| fault.id == band.id) {
                band.undone.get_or_insert(now);
                band.recovered = Some(now);
            }
        }
        if self.bands != before {
            self.bands_changed = self.last_id + 1;
        }
    }

    /// When the end of a fault began. `None`: it goes on, or it is too long ago.
    pub(super) fn undone(&self, fault: u64) -> Option<OffsetDateTime> {
        let undone = self.bands.iter().rev().find(|band| band.id == fault)?.undone?;
        OffsetDateTime::from_unix_timestamp_nanos((undone * 1e9) as i128).ok()
    }

    /// What this console undid itself has its measured times.
    pub(super) fn healed(&mut self, healed: &Healed) {
        let Some(kind) = &healed.kind else { return };
        let is_it = |band: &&mut Band| band.target == healed.target && band.kind == kind.name();
        if let Some(band) = self.bands.iter_mut().rev().find(is_it) {
            band.undone = Some(seconds(healed.asked_at));
            band.recovered = Some(seconds(healed.answered_at));
            self.bands_changed = self.last_id + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use stack::FaultKind;

    use super::*;

    #[test]
    fn a_quarter_of_an_hour_is_kept_and_no_more() {
        let mut history = History::default();
        for second in 0..(LONGEST as u32 + 100) {
            history.push(Point { at: f64::from(second), ..Point::default() });
        }
        assert_eq!(history.points().count(), LONGEST);
        assert_eq!(history.since(LONGEST as u64 + 98).len(), 2);
        assert_eq!(history.since(0).len(), LONGEST);
    }

    #[test]
    fn a_fault_is_a_band_from_its_order_to_its_recovery() {
        let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).unwrap();
        let fault = ActiveFault {
            id: 4,
            target: Target::Redis,
            kind: FaultKind::Pause,
            by: "a test".to_owned(),
            asked_at: at(10),
            took_effect_at: None,
            evidence: None,
        };
        let mut history = History::default();
        history.reconcile(std::slice::from_ref(&fault), 10.5);
        let seen = history.push(Point { at: 11.0, ..Point::default() });
        assert_eq!(history.bands_since(seen).unwrap()[0].effect, None);
        history.reconcile(&[ActiveFault { took_effect_at: Some(at(11)), ..fault.clone() }], 11.5);
        history.push(Point { at: 12.0, ..Point::default() });
        history.healed(&Healed {
            target: Target::Redis,
            kind: Some(FaultKind::Pause),
            asked_at: at(20),
            answered_at: at(21),
            action: String::new(),
        });
        history.reconcile(&[], 30.0);
        assert_eq!(history.undone(4), Some(at(20)));
        assert_eq!(history.undone(5), None);
        let band = &history.bands_since(seen).unwrap()[0];
        assert_eq!((band.ordered, band.effect), (10.0, Some(11.0)));
        assert_eq!((band.undone, band.recovered), (Some(20.0), Some(21.0)));
        let later = history.push(Point { at: 31.0, ..Point::default() });
        assert!(history.bands_since(later + 1).is_none());
        history.push(Point { at: 2_000.0, ..Point::default() });
        assert!(history.bands_since(later + 1).unwrap().is_empty());
    }

    #[test]
    fn a_fault_undone_from_elsewhere_ends_when_it_is_missed() {
        let mut history = History::default();
        let fault = ActiveFault {
            id: 1,
            target: Target::Postgres,
            kind: FaultKind::Kill,
            by: "lab run".to_owned(),
            asked_at: OffsetDateTime::UNIX_EPOCH,
            took_effect_at: Some(OffsetDateTime::UNIX_EPOCH),
            evidence: None,
        };
        history.reconcile(&[fault], 1.0);
        history.reconcile(&[], 5.0);
        assert_eq!(history.bands_since(0).unwrap()[0].recovered, Some(5.0));
    }
}
