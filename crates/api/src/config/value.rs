//! The text form of durations (with a unit) and switches.

use std::time::Duration;

/// Parses `250ms`, `30s`, `5m`, `1h` or `1m 30s`: whole milliseconds within `bounds`.
pub(super) fn parse_duration(text: &str, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is not a duration: write numbers with their units, as in 250ms, 30s, 5m, 1h or 1m 30s")
    })?;
    if !(least..=most).contains(&duration) {
        let (least, most) = (format_duration(least), format_duration(most));
        return Err(format!("`{text}` is not from {least} to {most}"));
    }
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(format!("`{text}` is finer than a millisecond, which no timer here can tell"));
    }
    Ok(duration)
}

/// Formats a duration so that [`parse_duration`] can read it.
pub(super) fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Parses `on` or `off`.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn durations_need_a_unit_and_come_back_as_they_were_written() {
        for text in ["1ms", "250ms", "30s", "5m", "1h", "1m 30s", "1s 500ms"] {
            assert_eq!(parse_duration(text, (MS, HOUR)).map(format_duration).as_deref(), Ok(text));
        }
        assert_eq!(parse_duration("1m30s", (MS, HOUR)), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1500ms", (MS, HOUR)), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn zero_negative_absurd_and_unitless_durations_are_refused() {
        for text in [
            "",
            "5",
            "ms",
            "-1s",
            "0",
            "0ms",
            "0s",
            "1ns",
            "999us",
            "1ms 1us",
            "61m",
            "1d",
            "1year",
            "s5",
            "1,5s",
            "∞",
            "99999999999999999999s",
            "18446744073709551615h",
            "5 s extra",
        ] {
            let fault = parse_duration(text, (MS, HOUR)).expect_err(text);
            assert!(fault.contains(&format!("`{text}`")), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_within_the_bounds_is_read_back(milliseconds in 1_u64..=3_600_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration), (MS, HOUR)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            drop(parse_duration(&text, (MS, HOUR)));
        }
    }
}
