//! A fresh replica exposes every series that a Prometheus rule reads, with the value 0.

use std::{collections::BTreeMap, fs, path::Path};

use api::{
    middleware::route::Route,
    routes::operations::{self},
};
use strum::VariantArray;

use crate::{http::get, replica::Replica};

/// Label and value.
type Labels = BTreeMap<String, String>;

/// `label="value"` and the other operators of a selector.
struct Matcher {
    label: String,
    operator: String,
    value: String,
}

impl Matcher {
    /// The rules use alternatives of words and two endings, nothing else of regular expressions.
    fn matches(&self, labels: &Labels) -> bool {
        let given = labels.get(&self.label).map_or("", String::as_str);
        let alternative = |pattern: &str| match pattern.strip_suffix(".*") {
            Some(start) => given.starts_with(start),
            None if pattern == "5.." => given.len() == 3 && given.starts_with('5'),
            None => given == pattern,
        };
        match self.operator.as_str() {
            "=" => given == self.value,
            "!=" => given != self.value,
            "=~" => self.value.split('|').any(alternative),
            "!~" => !self.value.split('|').any(alternative),
            other => panic!("what is {other}?"),
        }
    }
}

/// Every selector of a metric in the rules: its name and matchers.
fn selectors() -> Vec<(String, Vec<Matcher>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus/rules");
    let mut found = Vec::new();
    for file in fs::read_dir(folder).expect("the rules") {
        let text = fs::read_to_string(file.expect("readable").path()).expect("text");
        for (start, _) in text.match_indices('{') {
            let before = text[..start].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').next();
            let name = before.unwrap_or_default();
            let inside = &text[start + 1..start + text[start..].find('}').expect("an end")];
            if !name.is_empty() && inside.contains("job=\"api\"") {
                found.push((name.to_owned(), matchers(inside)));
            }
        }
    }
    assert!(found.len() > 15, "{} selectors", found.len());
    found
}

fn matchers(text: &str) -> Vec<Matcher> {
    let matchers = text.split("\",").map(|part| {
        let (head, value) = part.trim().trim_end_matches('"').split_once('"').expect("a quoted value");
        let label: String = head.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        Matcher { operator: head[label.len()..].to_owned(), label, value: value.to_owned() }
    });
    // Prometheus adds this one itself.
    matchers.filter(|matcher| matcher.label != "job").collect()
}

/// Every series, with its labels and value.
fn series(text: &str) -> Vec<(String, Labels, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let pair = |label: &str| {
                label.trim_end_matches('"').split_once("=\"").map(|(name, value)| (name.to_owned(), value.to_owned()))
            };
            (name.to_owned(), labels.filter_map(pair).collect(), value.to_owned())
        })
        .collect()
}

/// How each request to `/data` can end, as the labels of its series.
fn possible() -> Vec<Labels> {
    let routes = Route::VARIANTS.iter().filter(|route| route.as_str().starts_with("/data"));
    let operations = routes.flat_map(|route| route.methods().iter().map(move |method| (*route, *method)));
    let counted = operations.filter(|(_, method)| ["GET", "POST", "PUT", "DELETE"].contains(method));
    counted
        .flat_map(|(route, method)| operations::outcomes(route, method).map(move |outcome| (route, method, outcome)))
        .map(|(route, method, outcome)| {
            let labels = [
                ("http_request_method", method.to_owned()),
                ("http_route", route.as_str().to_owned()),
                ("http_response_status_code", outcome.status().to_string()),
                ("code", outcome.code().to_owned()),
            ];
            labels.map(|(name, value)| (name.to_owned(), value)).into()
        })
        .collect()
}

#[tokio::test]
async fn each_series_that_a_rule_reads_is_there_from_the_start() {
    let replica = Replica::start(&[]);
    let metrics = get(&replica.url("/metrics")).await;
    let there = series(metrics.body.as_str().expect("text"));
    assert!(there.len() < 2_500, "{} series of one replica", there.len());
    let possible = possible();
    for (name, matchers) in selectors().iter().filter(|(name, _)| name != "up") {
        let of_name: Vec<_> = there.iter().filter(|(given, ..)| given == name).collect();
        let matching = of_name.iter().filter(|(_, labels, _)| matchers.iter().all(|matcher| matcher.matches(labels)));
        assert!(matching.count() > 0, "{name} is read by a rule and not there");
        for matcher in matchers.iter().filter(|matcher| ["=", "=~"].contains(&matcher.operator.as_str())) {
            for word in matcher.value.split('|').filter(|word| !word.contains('.')) {
                let has = |labels: &Labels| labels.get(&matcher.label).is_some_and(|value| value == word);
                assert!(of_name.iter().any(|(_, labels, _)| has(labels)), "{name} has no {}={word}", matcher.label);
            }
        }
        if !name.starts_with("http_") {
            continue;
        }
        // The bucket's own label is no request's.
        let of_request = |matcher: &&Matcher| matcher.label != "le";
        for labels in
            possible.iter().filter(|labels| matchers.iter().filter(of_request).all(|matcher| matcher.matches(labels)))
        {
            let is_it =
                |given: &Labels| labels.iter().all(|(name, value)| given.get(name).is_none_or(|given| given == value));
            let found = of_name.iter().find(|(_, given, _)| is_it(given));
            let (.., value) = found.unwrap_or_else(|| panic!("{name} has no series for {labels:?}"));
            assert_eq!(value, "0", "{name} {labels:?}");
        }
    }
}
