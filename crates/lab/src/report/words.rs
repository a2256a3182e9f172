//! The text form of numbers, times and figures in reports.

use std::time::Duration;

use time::{OffsetDateTime, macros::format_description};

use crate::verdict::{Judged, Observed, number};

/// `12,400`
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whole numbers of four digits and more in a sentence get their commas, but not parts of words and decimals.
pub(super) fn grouped(text: &str) -> String {
    let word = |word: &str| {
        let core = word.trim_end_matches([';', ':', '.']);
        let is_whole = core.len() >= 4 && core.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_whole { core.parse().ok() } else { None };
        number.map_or_else(|| word.to_owned(), |n| count(n) + &word[core.len()..])
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A value with its unit: `41 ms`, `99.2 %`, `12,400`.
pub(super) fn value(value: f64, unit: &str) -> String {
    let number = if value.is_finite() { grouped(&number(value)) } else { "–".to_owned() };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// The observed value in words.
pub(super) fn observed(observed: &Observed, unit: &str) -> String {
    let alone = value(observed.value, unit);
    match observed.text.as_str() {
        "" => alone,
        text if unit == "%" => format!("{alone} ({})", grouped(text)),
        text if unit.is_empty() && !text.contains(" of ") => format!("{alone} ({})", grouped(text)),
        text => grouped(text),
    }
}

/// The result of a hypothesis, as a figure or as the reason why there is none.
pub(super) fn figure(judged: &Judged) -> String {
    judged.observed.as_ref().map_or_else(|| grouped(&judged.why), |seen| observed(seen, &judged.unit))
}

/// `0 to 0.16 %`
pub(super) fn interval(seen: &Observed, unit: &str) -> String {
    seen.interval.map_or_else(String::new, |(low, high)| {
        let end = value(high, unit);
        format!("{} to {end}", value(low, ""))
    })
}

/// A time from the start of an arm: `12.3 s`, `3 min 5 s`.
pub(super) fn at(seconds: f64) -> String {
    let magnitude = seconds.abs();
    if magnitude >= 120.0 {
        let whole = seconds.round() as i64;
        return match (whole / 60, whole % 60) {
            (minutes, 0) => format!("{minutes} min"),
            (minutes, rest) => format!("{minutes} min {} s", rest.abs()),
        };
    }
    format!("{} s", trimmed(seconds, if magnitude >= 10.0 { 1 } else { 2 }))
}

/// A duration; below a second in ms.
pub(super) fn lasting(seconds: f64) -> String {
    if seconds.abs() < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { at(seconds) }
}

/// The marks of a time axis up to this end: round seconds on a short one, round minutes on a long one.
pub(super) fn ticks(axis: loadgen::charts::Axis, end: f64) -> Vec<(f64, String)> {
    const STEPS: [u32; 9] = [20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600];
    if end < LONG {
        return axis.ticks().into_iter().map(|at| (at, tick(at, false))).collect();
    }
    let fits = |step: &u32| end / f64::from(*step) <= 8.0;
    let step = f64::from(STEPS.into_iter().find(fits).unwrap_or(14_400));
    let count = (end / step).floor().min(1_000.0) as u32;
    (0..=count).map(|place| f64::from(place) * step).map(|at| (at, tick(at, true))).collect()
}

/// From this time on, in s, an axis is in minutes.
pub(super) const LONG: f64 = 120.0;

/// A mark of a time axis: `5`, `1:30`.
fn tick(seconds: f64, is_long: bool) -> String {
    if is_long {
        let whole = seconds.round() as i64;
        format!("{}:{:02}", whole / 60, whole % 60)
    } else {
        trimmed(seconds, 1)
    }
}

/// With at most this many digits, without trailing zeros.
pub(super) fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Latencies on an axis: `0.5`, `20`, `1k`.
pub(super) fn axis(value: f64) -> String {
    if value >= 10_000.0 { format!("{}k", trimmed(value / 1e3, 1)) } else { trimmed(value, 3) }
}

/// `2026-11-25 08:30:20 UTC`
pub(super) fn date(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// `8s`, in the form of the plans.
pub(super) fn planned(time: Duration) -> String {
    at(time.as_secs_f64())
}

/// Singular or plural, by the number.
pub(super) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Capitalises the first letter.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_where_they_are_numbers() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(grouped("0 of 12400 failed; with 95 %"), "0 of 12,400 failed; with 95 %");
        assert_eq!(grouped("record:v1:90123 after 1.25000 s: 1000"), "record:v1:90123 after 1.25000 s: 1,000");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            (at(3.456), at(45.06), at(185.0), at(-0.5)),
            ("3.46 s".into(), "45.1 s".into(), "3 min 5 s".into(), "-0.5 s".into())
        );
        assert_eq!(
            (lasting(0.0441), lasting(2.0), tick(90.0, true), tick(2.5, false)),
            ("44 ms".into(), "2 s".into(), "1:30".into(), "2.5".into())
        );
    }

    #[test]
    fn an_observation_is_told_once() {
        let share = Observed { value: 99.0, interval: Some((98.0, 99.5)), n: 100, text: "99 of 100 succeeded".into() };
        assert_eq!(observed(&share, "%"), "99 % (99 of 100 succeeded)");
        let none = Observed { text: "0 of 1180 failed".into(), ..Observed::default() };
        assert_eq!(observed(&none, ""), "0 of 1,180 failed");
        assert_eq!(interval(&share, "%"), "98 to 99.5 %");
    }
}
