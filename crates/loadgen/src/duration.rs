//! Durations in text form, with a number and a unit: `250ms`, `1.5s`, `2m`.

use std::time::Duration;

/// `s` must come after `ms` and `us`, which end in it.
const UNITS: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Parses `250ms`, `1.5s`, `2m`, `24h`.
///
/// # Errors
/// A message that says what is wrong with the text and shows an example.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let Some((number, seconds)) = UNITS.iter().find_map(|(unit, s)| Some((text.strip_suffix(unit)?, s))) else {
        return Err(format!("{text:?} needs a unit: us, ms, s, m or h, for example 10s or 250ms"));
    };
    let value: f64 =
        number.trim().parse().map_err(|_| format!("{text:?} is not a duration, for example 10s or 250ms"))?;
    Duration::try_from_secs_f64(value * seconds)
        .map_err(|_| format!("{text:?} is not a duration between 0 and centuries"))
}

/// The shortest exact text: `250ms`, `1.5s`, `10s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros == 0 {
        "0s".to_owned()
    } else if !micros.is_multiple_of(1_000) {
        format!("{micros}us")
    } else if micros < 1_000_000 {
        format!("{}ms", micros / 1_000)
    } else if duration.as_secs() >= 60 && duration.as_secs().is_multiple_of(60) && duration.subsec_nanos() == 0 {
        format!("{}m", duration.as_secs() / 60)
    } else {
        format!("{}s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_each_unit() {
        for (text, millis) in [("250ms", 250), ("1.5s", 1_500), ("2m", 120_000), ("1h", 3_600_000), ("3000us", 3)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["250ms", "1.5s", "2m", "0s", "90s", "7us"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(parse("10").unwrap_err().contains("needs a unit"));
        for bad in ["", "s", "-1s", "xs", "1e300h", "NaNs"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
