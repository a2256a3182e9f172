//! Times as text (`250ms`, `5s`), in the form of the load generator's files.

pub(crate) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&loadgen::duration::format(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A plan may contain "at once" (zero); the load generator's own settings may not.
        if matches!(text.as_str(), "0" | "0s" | "0ms") {
            return Ok(Duration::ZERO);
        }
        loadgen::duration::parse(&text).map_err(D::Error::custom)
    }
}
