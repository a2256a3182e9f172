//! The results of an interval of planned time: cells summed over the workers, and over the steps of a window or a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latencies::Latencies;
use crate::outcome::{CacheResult, ErrorClass};
use crate::record::Cell;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    /// Sent more than 1 ms late.
    pub(crate) late: u64,
    /// Late by more than 1 ms and by more than 1 % of the latency.
    pub(crate) distorted: u64,
    pub(crate) retries: u64,
    /// By status and problem code; the code is empty if there is none.
    #[serde(with = "status_list")]
    pub(crate) statuses: BTreeMap<(u16, String), u64>,
    pub(crate) errors: BTreeMap<ErrorClass, u64>,
    pub(crate) instances: BTreeMap<String, u64>,
    pub(crate) cache: BTreeMap<CacheResult, u64>,
    /// By kind of request, in the plan's order. Grows as needed.
    pub(crate) kinds: Vec<KindTally>,
    /// From the actual send time; empty in a closed loop.
    pub(crate) service: Latencies,
    /// The delay between planned and actual send time; empty in a closed loop.
    pub(crate) lag: Latencies,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KindTally {
    pub(crate) sent: u64,
    pub(crate) good: Latencies,
    pub(crate) bad: Latencies,
}

impl Tally {
    /// Adds another worker's cell of the same time.
    pub(crate) fn of_cell(cell: Cell, labels: &[Box<str>]) -> Self {
        let name = |index: usize| labels.get(index).map_or_else(String::new, |name| name.to_string());
        let counted = |counts: &[u64], at: usize| Some(counts[at]).filter(|count| *count > 0);
        Self {
            sent: cell.sent,
            dropped: cell.dropped,
            late: cell.late,
            distorted: cell.distorted,
            retries: cell.retries,
            statuses: cell.statuses.iter().map(|((status, code), n)| ((*status, name(code.index())), *n)).collect(),
            errors: ErrorClass::ALL
                .into_iter()
                .filter_map(|class| Some((class, counted(&cell.errors, class as usize)?)))
                .collect(),
            instances: cell.instances.iter().map(|(label, n)| (name(label.index()), *n)).collect(),
            cache: CacheResult::ALL
                .into_iter()
                .filter_map(|result| Some((result, counted(&cell.cache, result as usize)?)))
                .collect(),
            kinds: cell
                .kinds
                .into_iter()
                .map(|kind| KindTally { sent: kind.sent, good: kind.good, bad: kind.bad })
                .collect(),
            service: cell.service,
            lag: cell.lag,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.dropped += other.dropped;
        self.late += other.late;
        self.distorted += other.distorted;
        self.retries += other.retries;
        add_counts(&mut self.statuses, &other.statuses);
        add_counts(&mut self.errors, &other.errors);
        add_counts(&mut self.instances, &other.instances);
        add_counts(&mut self.cache, &other.cache);
        if self.kinds.len() < other.kinds.len() {
            self.kinds.resize_with(other.kinds.len(), KindTally::default);
        }
        for (sum, more) in self.kinds.iter_mut().zip(&other.kinds) {
            sum.sent += more.sent;
            sum.good.add(&more.good);
            sum.bad.add(&more.bad);
        }
        self.service.add(&other.service);
        self.lag.add(&other.lag);
    }

    pub(crate) fn planned(&self) -> u64 {
        self.sent + self.dropped
    }

    pub(crate) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.good.count()).sum()
    }

    /// Sent and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent - self.answered() - self.unanswered()
    }

    /// Of successful answers.
    pub(crate) fn good(&self) -> Latencies {
        self.sum_of(|kind| &kind.good)
    }

    /// Of refused and unanswered requests.
    pub(crate) fn bad(&self) -> Latencies {
        self.sum_of(|kind| &kind.bad)
    }

    fn sum_of(&self, part: fn(&KindTally) -> &Latencies) -> Latencies {
        let mut sum = Latencies::default();
        self.kinds.iter().for_each(|kind| sum.add(part(kind)));
        sum
    }
}

fn add_counts<K: Ord + Clone>(sums: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        match sums.get_mut(key) {
            Some(sum) => *sum += count,
            None => {
                sums.insert(key.clone(), *count);
            }
        }
    }
}

/// Statuses are serialized as a list, because a JSON key cannot have two parts.
mod status_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Statuses = BTreeMap<(u16, String), u64>;

    pub(super) fn serialize<S: Serializer>(statuses: &Statuses, to: S) -> Result<S::Ok, S::Error> {
        let list: Vec<(u16, &str, u64)> = statuses.iter().map(|((status, code), n)| (*status, &**code, *n)).collect();
        list.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Statuses, D::Error> {
        let list = Vec::<(u16, String, u64)>::deserialize(from)?;
        Ok(list.into_iter().map(|(status, code, count)| ((status, code), count)).collect())
    }
}
