//! The route of a path: the closed set of values of the metric label `http_route`.

use crate::problem::catalogue;

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
    /// `/problems/{code}`
    Problem,
    /// Every other path. One label for all, so that a scanner cannot create new series.
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
            _ if is_segment(path.strip_prefix("/data/")) => Self::Record,
            _ if is_segment(path.strip_prefix(catalogue::BASE)) => Self::Problem,
            _ => Self::Unmatched,
        }
    }

    /// The pattern as it is registered with the router.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "/data",
            Self::Record => "/data/{id}",
            Self::Health => "/health",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Problem => "/problems/{code}",
            Self::Unmatched => "_unmatched",
        }
    }

    /// Its methods (RFC 9110, 10.2.1); for [`Route::Unmatched`] all methods of the service.
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["GET", "HEAD", "POST", "OPTIONS"],
            Self::Record => &["GET", "HEAD", "PUT", "DELETE", "OPTIONS"],
            Self::Health | Self::Livez | Self::Readyz | Self::Metrics | Self::OpenApi | Self::Problem => {
                &["GET", "HEAD", "OPTIONS"]
            }
            Self::Unmatched => &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"],
        }
    }
}

fn is_segment(rest: Option<&str>) -> bool {
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scanner_finds_one_label() {
        for path in [
            "/",
            "",
            "/data/",
            "/data/1/2",
            "/wp-login.php",
            "/Data",
            "/metrics/",
            "*",
            "//data",
            "/problems",
            "/problems/",
        ] {
            assert_eq!(Route::of(path), Route::Unmatched, "{path}");
        }
        assert_eq!(Route::of("/data/17"), Route::Record);
        assert_eq!(Route::of("/data"), Route::Records);
        assert_eq!(Route::of("/problems/not_found"), Route::Problem);
    }
}
