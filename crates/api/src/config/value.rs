//! The text forms of values: durations with a unit, switches, secrets.

use std::{fmt, time::Duration};

/// A value that must not be printed; `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Hides the password of a URL (`scheme://user:password@host/…`) and leaves the rest readable.
pub(super) fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "[hidden]".to_owned();
    };
    // The last `@` before the path ends the credentials: a password may itself hold one.
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:[hidden]@{host}{tail}")
        }
        None => format!("{scheme}://{authority}{tail}"),
    }
}

/// Reads `250ms`, `30s`, `5m`, `1h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write a whole number and a unit, as in 250ms, 30s, 5m or 1h");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(wrong()),
    };
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

/// Writes a duration in the form that [`parse_duration`] reads.
pub(super) fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0ms".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// Reads `on` or `off`.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_come_back_as_they_were_written() {
        for text in ["0ms", "250ms", "30s", "5m", "1h", "1500ms"] {
            assert_eq!(format_duration(parse_duration(text).expect(text)), text);
        }
        for text in ["", "5", "ms", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        assert_eq!(hide_password("postgres://app:pw@h:5/db"), "postgres://app:[hidden]@h:5/db");
        assert_eq!(hide_password("redis://:p@w@h/0"), "redis://:[hidden]@h/0");
        assert_eq!(hide_password("redis://h:6379/0"), "redis://h:6379/0");
        assert_eq!(hide_password("pw"), "[hidden]");
    }
}
