//! A point in a run's time: a mark, and an offset before or after it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// `start`, `order+500ms`, `undo-1s`. Every arm has the marks `start` and `end` of the load. With a fault there are
/// `order` (the first fault was requested), `effect` (it was confirmed from outside), `undo` (the first undo was
/// requested) and `recovered` (everything was undone and every probe got good answers again). Each step adds
/// `NAME.asked` and `NAME.done`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Moment {
    pub mark: String,
    /// In milliseconds.
    pub offset_ms: i64,
}

impl Moment {
    #[must_use]
    pub fn at(mark: &str) -> Self {
        Self { mark: mark.to_owned(), offset_ms: 0 }
    }

    /// This long after the mark.
    #[must_use]
    pub fn after(mark: &str, time: Duration) -> Self {
        Self { mark: mark.to_owned(), offset_ms: i64::try_from(time.as_millis()).unwrap_or(i64::MAX) }
    }

    /// This long before the mark.
    #[must_use]
    pub fn before(mark: &str, time: Duration) -> Self {
        let after = Self::after(mark, time);
        Self { offset_ms: -after.offset_ms, ..after }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = loadgen::duration::format(Duration::from_millis(self.offset_ms.unsigned_abs()));
        match self.offset_ms {
            0 => f.write_str(&self.mark),
            1.. => write!(f, "{}+{time}", self.mark),
            _ => write!(f, "{}-{time}", self.mark),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    /// A `-` may be part of a mark's name: either a time follows the last sign, or the whole text is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err("an empty text is no moment".to_owned());
        }
        if let Some((mark, time)) = text.rsplit_once(['+', '-'])
            && !mark.is_empty()
            && let Ok(time) = loadgen::duration::parse(time)
        {
            let is_after = text.as_bytes()[mark.len()] == b'+';
            return Ok(if is_after { Self::after(mark, time) } else { Self::before(mark, time) });
        }
        if text.contains('+') {
            return Err(format!("`{text}` is neither a mark nor a mark with a time such as `effect+500ms`"));
        }
        Ok(Self::at(text))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_was_written() {
        for text in ["start", "effect+500ms", "undo-1s", "fault-2.done", "fault-2.done+1s", "kill-redis"] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), text);
        }
        assert_eq!("undo-1s".parse(), Ok(Moment::before("undo", Duration::from_secs(1))));
        assert_eq!("fault-2".parse(), Ok(Moment::at("fault-2")));
        assert!("effect+soon".parse::<Moment>().is_err());
        assert!(" ".parse::<Moment>().is_err());
    }
}
