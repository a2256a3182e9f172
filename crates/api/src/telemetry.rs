//! Logs: JSON lines on standard output, including panics.

use std::panic::{self, PanicHookInfo};

use tracing_subscriber::EnvFilter;

/// Starts logging. Called once, before anything is logged.
pub fn start(filter: &str) {
    // The configuration has already validated the filter.
    let filter = filter.parse::<EnvFilter>().unwrap_or_default();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .init();
    panic::set_hook(Box::new(log_panic));
}

/// Logs a panic as one line, instead of the standard library's text on standard error, which log collectors do not
/// parse.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let cause =
        payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        cause = cause.unwrap_or("not a text"),
        location,
        thread = thread.name().unwrap_or_default(),
        "panic"
    );
}
