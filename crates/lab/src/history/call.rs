//! The lines of a history: JSON objects with a field `line` that names their type. Times are microseconds since the
//! recording began, all from one monotonic clock.

use serde::{Deserialize, Serialize};

/// One line of a recorded history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Head(Head),
    /// A record as it was in Postgres before the first call.
    Initial {
        /// The record.
        item: Item,
    },
    /// A call, written when it has ended.
    Call(Call),
    /// A fault, written when it is undone.
    Broken(Broken),
    /// A record after the last call, with everything healthy again.
    Last(Last),
    /// The last line of a complete recording.
    End,
}

/// The bounds that hold for the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of this format.
    pub schema: u32,
    /// Seed of the load and of the schedule of faults.
    pub seed: u64,
    /// How long after its acknowledgement a write may be invisible if Redis was unavailable at that time:
    /// `CACHE_FRESH`, one renewal, and an allowance for a busy machine.
    pub bound_us: u64,
    /// How long after its begin a write without an answer may still take effect.
    pub window_us: u64,
    /// How long after its acknowledgement a write may be invisible in an answer of another replica's near cache; 0: the
    /// near cache is off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_us: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde wants")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The version of the format that this program writes and reads.
pub(super) const SCHEMA: u32 = 1;

/// One version of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, i64, String)", into = "(i64, i64, String)")]
pub struct Item {
    /// Its id.
    pub id: i64,
    /// The number of its writes, from 1.
    pub version: i64,
    /// All written values are different, so a value identifies the write that it comes from.
    pub value: String,
}

impl From<(i64, i64, String)> for Item {
    fn from((id, version, value): (i64, i64, String)) -> Self {
        Self { id, version, value }
    }
}

impl From<Item> for (i64, i64, String) {
    fn from(item: Item) -> Self {
        (item.id, item.version, item.value)
    }
}

/// One request, as the client observed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// A client sends one request at a time.
    pub client: u32,
    /// `nginx`, or the replica that was asked directly.
    pub via: String,
    /// The request and its result.
    #[serde(flatten)]
    pub asked: Asked,
    /// Just before the connection was opened.
    pub begin: u64,
    /// When the answer was complete, or the client gave up.
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's status; 0 if there is no answer.
    pub status: u16,
    /// `X-Instance`: the replica that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// `Cache-Status`, or the problem's `code`, or why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Call {
    /// Whether a replica's near cache answered.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.note.as_deref().is_some_and(|note| note.starts_with("near; hit"))
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was answered as requested. For a read also 404.
    Ok,
    /// Nothing was done: a 4xx, or no connection.
    Refused,
    /// It is unknown whether it took effect: a 5xx, no answer in time, or a lost connection.
    Doubt,
}

/// The request. `answer` is the record in the answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Asked {
    /// `GET /data/{id}`. [`Outcome::Ok`] without an answer is a 404.
    Read {
        /// The requested record.
        id: i64,
        /// The record in the answer.
        answer: Option<Item>,
        /// Whether the answer is marked as stale (`detail=stale`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stale: bool,
    },
    /// `GET /data?after=…`.
    Page {
        /// The page begins after this id.
        after: i64,
        /// The page is complete up to this id; `None`: there is nothing after it.
        upto: Option<i64>,
        /// Its records.
        items: Vec<Item>,
        /// Whether the answer is marked as stale.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stale: bool,
    },
    /// `POST /data`.
    Create {
        /// `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The value sent.
        value: String,
        /// The record in the answer.
        answer: Option<Item>,
    },
    /// `PUT /data/{id}`. A 404 is [`Outcome::Refused`].
    Replace {
        /// The record to replace.
        id: i64,
        /// `If-Match`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<i64>,
        /// The value sent.
        value: String,
        /// The record in the answer.
        answer: Option<Item>,
    },
    /// `DELETE /data/{id}`.
    Delete {
        /// The record to delete.
        id: i64,
        /// `If-Match`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<i64>,
    },
}

impl Asked {
    /// The record that the call is about, if it is known.
    #[must_use]
    pub fn id(&self) -> Option<i64> {
        match self {
            Self::Read { id, .. } | Self::Replace { id, .. } | Self::Delete { id, .. } => Some(*id),
            Self::Create { answer, .. } => answer.as_ref().map(|item| item.id),
            Self::Page { .. } => None,
        }
    }

    /// The value that was sent.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Create { value, .. } | Self::Replace { value, .. } => Some(value),
            Self::Read { .. } | Self::Page { .. } | Self::Delete { .. } => None,
        }
    }

    /// The records in the answer.
    #[must_use]
    pub fn answered(&self) -> &[Item] {
        match self {
            Self::Read { answer, .. } | Self::Create { answer, .. } | Self::Replace { answer, .. } => answer.as_slice(),
            Self::Page { items, .. } => items,
            Self::Delete { .. } => &[],
        }
    }

    /// Whether the call only reads.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Page { .. } => true,
            Self::Create { .. } | Self::Replace { .. } | Self::Delete { .. } => false,
        }
    }
}

/// A time in which something was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// In words.
    pub what: String,
    /// Just before it was broken.
    pub from: u64,
    /// When every replica was healthy again.
    pub to: u64,
    /// When Redis had received every write that it missed.
    pub repaired: u64,
    /// Redis was unavailable, or refused writes, for some replica.
    pub redis: bool,
    /// A replica ended, and its list of missed writes was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// A replica whose write is in doubt is there to tell Redis of it at once: answers came late, and nothing else was the
    /// matter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late_only: bool,
}

/// A record after the last call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// `postgres`, or a replica.
    pub at: String,
    /// The requested record.
    pub id: i64,
    /// `None`: it does not exist.
    pub item: Option<Item>,
    /// There was no good answer within the time limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// The name of the authoritative source among the [`Last`] lines.
pub(super) const POSTGRES: &str = "postgres";
