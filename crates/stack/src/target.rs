//! The targets of faults.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One server of the stack. The text form (`postgres`, `api-2`) is the same in commands, file names and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Target {
    Postgres,
    Redis,
    Nginx,
    /// A replica of the API, counted from 1.
    Api(u32),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.pad("postgres"),
            Self::Redis => f.pad("redis"),
            Self::Nginx => f.pad("nginx"),
            Self::Api(number) => f.pad(&format!("api-{number}")),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "postgres" => Ok(Self::Postgres),
            "redis" => Ok(Self::Redis),
            "nginx" => Ok(Self::Nginx),
            _ => match text.strip_prefix("api-").map(str::parse) {
                Some(Ok(number)) if number > 0 && text == format!("api-{number}") => Ok(Self::Api(number)),
                _ => Err(format!("unknown target `{text}`")),
            },
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_its_own_text() {
        for target in [Target::Postgres, Target::Redis, Target::Nginx, Target::Api(1), Target::Api(16)] {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "Postgres", "api", "api-", "api-0", "api-01", "api-x", "api-1 ", "api-99999999999"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }
}
