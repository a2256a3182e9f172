//! Generates `docs/metrics.md` from the declarations. The test fails when the page is out of date.

use std::{fmt::Write as _, fs, path::Path};

use prometheus::core::Collector;
use strum::VariantArray;

use super::{DECLARED, process::ProcessCollector, requests::METHODS};
use crate::{middleware::route::Route, problem::Code};

const PAGE: &str = "docs/metrics.md";

const HEAD: &str = "\
# Metrics

<!-- Made from the declarations in crates/api/src/metrics.rs by
     UPDATE_DOCS=1 cargo test -p api --lib metrics -->

Every replica serves these at `/metrics`; nginx refuses that path to the outside. `/metrics?labels=instance` adds the
replica's name as the label `instance` to every series, for a Prometheus that finds replicas by address only.
`docs/observability.md` shows them at work.

All label sets are closed: nothing that a client sends becomes a label value.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for metric in DECLARED {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        row(&mut page, metric.name, kind(metric.kind), &labels.join(", "), metric.help);
    }
    for family in ProcessCollector::new().expect("names are right").collect() {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        row(&mut page, family.name(), &kind, "", family.help());
    }
    page.push_str("\n## Labels\n\n| label | values |\n| --- | --- |\n");
    let methods = METHODS.map(|method| format!("`{method}`")).join(", ");
    let routes = Route::VARIANTS.iter().map(|route| format!("`{}`", route.as_str())).collect::<Vec<_>>().join(", ");
    let codes = Code::VARIANTS
        .iter()
        .map(|code| format!("`{}` {}", code.as_str(), code.status()))
        .collect::<Vec<_>>()
        .join(", ");
    let mut label = |name: &str, values: &str| writeln!(page, "| `{name}` | {values} |").expect("into memory");
    label("http_request_method", &methods);
    label("http_route", &routes);
    label("code", &format!("empty, or one of (with its status): {codes}"));
    label("dependency", "`postgres`, `redis`");
    label(
        "outcome of `dependency_request_duration_seconds`",
        "`ok`, `timeout`, `error`, `breaker_open` (it was not asked)",
    );
    label("outcome of `retries_total`", "`succeeded`, `failed`, `not_sent`, `refused_budget`, `refused_deadline`");
    page
}

fn row(page: &mut String, name: &str, kind: &str, labels: &str, help: &str) {
    writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").expect("into memory");
}

fn kind(rust: &str) -> &'static str {
    match rust {
        "HistogramVec" => "histogram",
        "IntCounter" | "IntCounterVec" => "counter",
        "IntGauge" | "IntGaugeVec" | "GaugeVec" => "gauge",
        other => panic!("what is a {other} for Prometheus?"),
    }
}

#[test]
fn the_page_of_all_metrics_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    #[expect(clippy::disallowed_methods, reason = "set by hand to write the page anew")]
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    if update {
        fs::write(&path, page()).expect("the page can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page(), "{PAGE} is stale; UPDATE_DOCS=1 cargo test -p api --lib metrics writes it anew");
}
