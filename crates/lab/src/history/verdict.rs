//! The result of the checker: each promise, how much of the history tested it, and its violations.

use std::fmt;

use super::Head;

/// The promises of the stack to its clients. Each violation breaks one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// A record that is read is as new as the last write acknowledged before.
    FreshReads,
    /// The same for every record on a page, and the page has all of them.
    FreshPages,
    /// No reader receives an older version after a newer one.
    ForwardReads,
    /// An acknowledged write stays, and no older one takes effect after it.
    NothingLost,
    /// A deleted record does not return.
    GoneStaysGone,
    /// One `Idempotency-Key`, or one POST, creates one record.
    CreatedOnce,
    /// An answer is about the requested record, its value was written by a client, and no refused write took effect.
    AsAnswered,
    /// When nothing is broken any more, every replica answers again.
    Recovers,
}

impl Promise {
    /// All promises, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::FreshReads,
        Self::FreshPages,
        Self::ForwardReads,
        Self::NothingLost,
        Self::GoneStaysGone,
        Self::CreatedOnce,
        Self::AsAnswered,
        Self::Recovers,
    ];
}

impl Promise {
    /// For file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FreshReads => "fresh-reads",
            Self::FreshPages => "fresh-pages",
            Self::ForwardReads => "forward-reads",
            Self::NothingLost => "nothing-lost",
            Self::GoneStaysGone => "gone-stays-gone",
            Self::CreatedOnce => "created-once",
            Self::AsAnswered => "as-answered",
            Self::Recovers => "recovers",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FreshReads => "a read sees what was acknowledged before",
            Self::FreshPages => "a page shows what was acknowledged before",
            Self::ForwardReads => "no version goes back for a reader",
            Self::NothingLost => "no acknowledged write is lost",
            Self::GoneStaysGone => "no deleted record returns",
            Self::CreatedOnce => "a repeated POST creates one record",
            Self::AsAnswered => "what is answered is what was done",
            Self::Recovers => "every replica answers again in the end",
        })
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub promise: Promise,
    /// The record.
    pub id: i64,
    /// What happened, in words.
    pub what: String,
    /// The calls that prove it, as indices into [`History::calls`](super::History::calls).
    pub calls: Vec<usize>,
}

/// The findings of the checker.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Number of acknowledged writes.
    pub acknowledged: usize,
    /// Number of writes whose result is unknown.
    pub in_doubt: usize,
    /// Number of answers to reads of records and pages.
    pub reads: usize,
    /// Number of reads that had to be as new as the last acknowledged write, because Redis was available at that time.
    pub strict: usize,
    /// Number of reads that a near cache answered.
    pub near: usize,
    /// Of these, the number that missed another replica's write.
    pub near_old: usize,
    /// The longest time from that write's acknowledgement to the begin of the read.
    pub near_oldest_us: u64,
    /// Calls that failed (a 5xx, or no answer) while nothing was broken. They are reported, not judged, because a busy
    /// machine may be the cause.
    pub failed_in_peace: usize,
    /// Pages that said that they are old while nothing was broken. Where their replica has waited for Postgres in vain they
    /// come in place of a failure, and are told for the same reason; the others are judged.
    pub old_in_peace: usize,
    /// Everything that broke a promise, in the order of time.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// The number of violations of this promise.
    #[must_use]
    pub fn count(&self, promise: Promise) -> usize {
        self.violations.iter().filter(|violation| violation.promise == promise).count()
    }

    /// Why the history proves too little, if it does.
    #[must_use]
    pub fn too_weak(&self, head: &Head) -> Option<String> {
        /// Fewer calls say nothing about rare faults.
        const ENOUGH: usize = 100;
        if self.acknowledged < ENOUGH {
            return Some(format!("only {} writes were acknowledged, {ENOUGH} are the least", self.acknowledged));
        }
        if head.near_us > 0 && self.near < ENOUGH {
            return Some(format!("only {} answers were of a near cache, {ENOUGH} are the least", self.near));
        }
        if self.strict < ENOUGH || self.strict * 10 < self.reads {
            return Some(format!("{} of {} reads had to be new, a tenth is the least", self.strict, self.reads));
        }
        None
    }
}
