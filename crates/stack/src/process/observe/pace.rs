//! The times of the alert rules in a compressed day.
//!
//! The rules are made for faults that last seconds, as those of the lab do: what a day of 24 minutes makes of minutes. In a
//! shorter day their times shrink with it, down to what Prometheus can tell: a `for` is at least one reading, and a range at
//! least four.

use std::{fmt, time::Duration};

/// The day whose minutes are the rules' seconds.
const DAY: Duration = Duration::from_mins(24);
/// How often a replica is read, and the rules are evaluated.
const READING: Duration = Duration::from_secs(1);
/// More often costs the replicas more than it tells.
const SHORTEST_READING: Duration = Duration::from_millis(200);
/// A rate of fewer readings is chance.
const READINGS_IN_A_RANGE: u32 = 4;

/// How fast a day goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// At most 1.
    factor: f64,
    /// `None`: a real one.
    pub(super) day: Option<Duration>,
}

impl Pace {
    /// A real day, and the rules as they are.
    pub(super) const REAL: Self = Self { factor: 1.0, day: None };

    pub(super) fn of_day(day: Duration) -> Self {
        Self { factor: (day.as_secs_f64() / DAY.as_secs_f64()).min(1.0), day: Some(day) }
    }

    pub(super) fn reading(self) -> Duration {
        self.scaled(READING, SHORTEST_READING)
    }

    /// Rules with the times of this day: each `for: TIME` and each `[TIME]`.
    pub(super) fn rules(self, text: &str) -> String {
        if self.factor >= 1.0 {
            return text.to_owned();
        }
        text.lines().map(|line| self.line(line) + "\n").collect()
    }

    fn line(self, line: &str) -> String {
        let indented = line.trim_start();
        if let Some(time) = indented.strip_prefix("for: ").and_then(parsed) {
            let indent = &line[..line.len() - indented.len()];
            return format!("{indent}for: {}", written(self.scaled(time, self.reading())));
        }
        let mut pieces = line.split('[');
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let range = piece.split_once(']').and_then(|(time, rest)| Some((parsed(time)?, rest)));
            out += &match range {
                Some((time, rest)) => {
                    format!("[{}]{rest}", written(self.scaled(time, self.reading() * READINGS_IN_A_RANGE)))
                }
                None => format!("[{piece}"),
            };
        }
        out
    }

    fn scaled(self, time: Duration, least: Duration) -> Duration {
        time.mul_f64(self.factor).max(least)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reading = written(self.reading());
        if self.factor >= 1.0 {
            return write!(f, "replicas are read and rules evaluated every {reading}; `for: 5s` means 5 s");
        }
        let five = self.scaled(Duration::from_secs(5), self.reading());
        write!(
            f,
            "replicas are read and rules evaluated every {reading}, and the rules' times are divided by {:.0} (`for: 5s` \
             means {} ms), down to one reading for a `for` and four for a rate",
            1.0 / self.factor,
            five.as_millis()
        )
    }
}

/// `5s`, `10m`, as the rules have them.
fn parsed(text: &str) -> Option<Duration> {
    let number = text.get(..text.len().checked_sub(1)?)?.parse().ok()?;
    match text.as_bytes().last()? {
        b's' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_mins(number)),
        _ => None,
    }
}

/// As Prometheus reads it.
fn written(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "      - alert: A\n        expr: rate(x{a=~\"[bc].*\"}[30s]) > y[10m]\n        for: 10s\n";

    #[test]
    fn a_day_of_24_minutes_or_more_has_the_rules_as_they_are() {
        for day in [DAY, DAY * 2] {
            assert_eq!(Pace::of_day(day).rules(RULES), RULES);
            assert_eq!(Pace::of_day(day).reading(), READING);
        }
    }

    #[test]
    fn in_a_shorter_day_times_shrink_with_it_as_far_as_readings_can_tell() {
        let pace = Pace::of_day(Duration::from_mins(12));
        let expected = "      - alert: A\n        expr: rate(x{a=~\"[bc].*\"}[15s]) > y[300s]\n        for: 5s\n";
        assert_eq!(pace.rules(RULES), expected);
        assert_eq!(pace.reading(), Duration::from_millis(500));
        let short = Pace::of_day(Duration::from_secs(48));
        let expected = "      - alert: A\n        expr: rate(x{a=~\"[bc].*\"}[1s]) > y[20s]\n        for: 333ms\n";
        assert_eq!((short.rules(RULES).as_str(), short.reading()), (expected, SHORTEST_READING));
        assert_eq!(short.line("for: 5s"), "for: 200ms");
    }

    #[test]
    fn what_is_no_time_stays() {
        let pace = Pace::of_day(Duration::from_secs(48));
        for line in ["", "for: ever", "a[b]", "a[", "for: s", "x[30d]", "é[é]"] {
            assert_eq!(pace.line(line), line);
        }
    }
}
