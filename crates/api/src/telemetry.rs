//! Logs: JSON lines on stdout.

use tracing_subscriber::EnvFilter;

/// Starts logging. Called once, before anything that logs.
pub fn start(filter: &str) {
    // The filter was checked with the configuration.
    let filter = filter.parse::<EnvFilter>().unwrap_or_default();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .init();
}
