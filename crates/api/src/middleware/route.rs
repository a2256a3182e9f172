//! Which route a path belongs to: the closed set of the metric label `http_route`.

/// The routes of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumCount, strum::VariantArray)]
#[repr(u8)]
pub enum Route {
    /// `/data`
    Records,
    /// `/data/{id}`
    Record,
    /// `/health`
    Health,
    /// `/livez`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    OpenApi,
    /// Everything else: one label, or a scanner makes series without end.
    Unmatched,
}

impl Route {
    /// The route of a path.
    pub fn of(path: &str) -> Self {
        match path {
            "/data" => Self::Records,
            "/health" => Self::Health,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::OpenApi,
            _ => match path.strip_prefix("/data/") {
                Some(id) if !id.is_empty() && !id.contains('/') => Self::Record,
                _ => Self::Unmatched,
            },
        }
    }

    /// The pattern, as the router has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "/data",
            Self::Record => "/data/{id}",
            Self::Health => "/health",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Unmatched => "_unmatched",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scanner_finds_one_label() {
        for path in ["/", "", "/data/", "/data/1/2", "/wp-login.php", "/Data", "/metrics/", "*", "//data"] {
            assert_eq!(Route::of(path), Route::Unmatched, "{path}");
        }
        assert_eq!(Route::of("/data/17"), Route::Record);
        assert_eq!(Route::of("/data"), Route::Records);
    }
}
