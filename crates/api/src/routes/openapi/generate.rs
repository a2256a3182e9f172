//! Generates `openapi.json` from the table of operations, so that the two always agree. Only descriptions, parameters
//! and schemas are written here by hand. `tests/api/contract.rs` compares the running service with the document.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, Value, json};
use strum::VariantArray;

use crate::{
    middleware::route::Route,
    problem::{Code, catalogue::Kind},
    routes::operations,
};

fn document() -> Value {
    let routes = Route::VARIANTS.iter().copied().filter(|route| *route != Route::Unmatched);
    let paths: Map<String, Value> = routes.map(|route| (route.as_str().to_owned(), path_item(route))).collect();
    let mut document: Value = serde_json::from_str(include_str!("parts.json")).expect("the parts are JSON");
    document["paths"] = Value::Object(paths);
    document["components"]["schemas"]["Problem"]["properties"]["code"] =
        json!({ "enum": Kind::all().map(|kind| kind.code).collect::<Vec<_>>() });
    document
}

fn path_item(route: Route) -> Value {
    let mut item = Map::new();
    let parameter = match route {
        Route::Record => Some("id"),
        Route::Problem => Some("code"),
        Route::Records
        | Route::Health
        | Route::Livez
        | Route::Readyz
        | Route::Metrics
        | Route::OpenApi
        | Route::Unmatched => None,
    };
    if let Some(name) = parameter {
        item.insert("parameters".to_owned(), json!([reference("parameters", name)]));
    }
    for method in route.methods() {
        item.insert(method.to_lowercase(), operation(route, method));
    }
    Value::Object(item)
}

fn operation(route: Route, method: &str) -> Value {
    let (id, summary) = words(route, method);
    let mut operation = json!({ "operationId": id, "summary": summary, "responses": responses(route, method) });
    let parameters: Vec<Value> = parameters(route, method).iter().map(|name| reference("parameters", name)).collect();
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if matches!(method, "POST" | "PUT") {
        let content = json!({ "application/json": { "schema": reference("schemas", "NewRecord") } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn words(route: Route, method: &str) -> (String, String) {
    let (noun, what) = match route {
        Route::Records => ("records", "a page of records in the order of their ids"),
        Route::Record => ("record", "one record"),
        Route::Health => ("health", "the state of the service and its dependencies"),
        Route::Livez => ("livez", "200 while the process works"),
        Route::Readyz => ("readyz", "200 when started and not draining"),
        Route::Metrics => ("metrics", "the metrics in the Prometheus text format; not to be had through nginx"),
        Route::OpenApi => ("openapi", "this document"),
        Route::Problem => ("problem", "what a problem's code means, in Markdown"),
        Route::Unmatched => ("", ""),
    };
    match (route, method) {
        (Route::Records, "GET") => ("list_records".to_owned(), format!("Get {what}")),
        (_, "GET") => (format!("get_{noun}"), format!("Get {what}")),
        (_, "HEAD") => (format!("head_{noun}"), format!("As GET, without the body: {what}")),
        (_, "POST") => ("create_record".to_owned(), "Create a record".to_owned()),
        (_, "PUT") => ("replace_record".to_owned(), "Replace a record".to_owned()),
        (_, "DELETE") => ("delete_record".to_owned(), "Delete a record, if it is there".to_owned()),
        (_, _) => (format!("options_{noun}"), "The methods of this path, in Allow".to_owned()),
    }
}

fn parameters(route: Route, method: &str) -> &'static [&'static str] {
    match (route, method) {
        (Route::Records, "GET" | "HEAD") => {
            &["limit", "after", "If-None-Match", "If-Match", "Cache-Control", "X-Request-Id", "traceparent"]
        }
        (Route::Record, "GET" | "HEAD") => {
            &["If-None-Match", "If-Match", "Cache-Control", "X-Request-Id", "traceparent"]
        }
        (Route::Records, "POST") => &["Idempotency-Key", "If-None-Match", "If-Match", "X-Request-Id", "traceparent"],
        (Route::Record, "PUT" | "DELETE") => &["If-None-Match", "If-Match", "X-Request-Id", "traceparent"],
        (Route::Metrics, "GET" | "HEAD") => &["labels"],
        (_, _) => &[],
    }
}

fn responses(route: Route, method: &str) -> Value {
    let mut responses = Map::new();
    for status in operations::good(route, method) {
        responses.insert(status.as_str().to_owned(), good(route, method, status.as_u16()));
    }
    let mut problems: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    // 499 is only counted: the client has disconnected.
    for code in operations::codes(route, method).into_iter().filter(|code| *code != Code::ClientClosed) {
        problems.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in problems {
        let response = if route == Route::Health && status == 503 {
            response(
                "`fail`: Postgres is away.",
                &["Cache-Control", "Retry-After"],
                method,
                Some(("application/health+json", "Health")),
            )
        } else {
            problem(method, status, &codes, route)
        };
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn good(route: Route, method: &str, status: u16) -> Value {
    const READ: [&str; 4] = ["Cache-Control", "Cache-Status", "Server-Timing", "Age"];
    let tagged = |headers: &[&'static str]| [headers, &["ETag"][..]].concat();
    let (text, headers, content): (_, Vec<&str>, _) = match (route, method, status) {
        (_, "OPTIONS", _) => ("The methods.", vec!["Allow"], None),
        (Route::Records, _, 201) => (
            "The new record, or the one that an earlier request with the same key made.",
            vec!["Cache-Control", "Server-Timing", "ETag", "Location"],
            Some(("application/json", "Record")),
        ),
        (Route::Records, _, 304) => ("The client wants no page (`If-None-Match: *`).", READ.to_vec(), None),
        (Route::Records, ..) => ("The page.", READ.to_vec(), Some(("application/json", "Page"))),
        (Route::Record, "PUT", _) => (
            "The record as it is now.",
            vec!["Cache-Control", "Server-Timing", "ETag"],
            Some(("application/json", "Record")),
        ),
        (Route::Record, "DELETE", _) => ("It is gone, now or before.", vec!["Cache-Control", "Server-Timing"], None),
        (Route::Record, _, 304) => ("The client has this version already.", tagged(&READ), None),
        (Route::Record, ..) => (
            "The record. With `detail=stale` in Cache-Status, and Age, it is an old version that answers while Postgres does not.",
            tagged(&READ),
            Some(("application/json", "Record")),
        ),
        (Route::Health, ..) => (
            "`pass`, or `warn` while Redis is away or one of them takes no writes.",
            vec!["Cache-Control"],
            Some(("application/health+json", "Health")),
        ),
        (Route::Livez, ..) => ("It works.", vec!["Cache-Control"], Some(("text/plain", "Text"))),
        (Route::Readyz, ..) => ("It is ready.", vec!["Cache-Control"], Some(("text/plain", "Text"))),
        (Route::Metrics, ..) => ("The metrics.", vec!["Cache-Control"], Some(("text/plain", "Text"))),
        (Route::OpenApi, ..) => ("This document.", vec!["Cache-Control"], Some(("application/json", "OpenApi"))),
        (Route::Problem, ..) => ("The page.", vec!["Cache-Control"], Some(("text/markdown", "Text"))),
        (Route::Unmatched, ..) => ("", vec![], None),
    };
    response(text, &headers, method, content)
}

fn problem(method: &str, status: u16, codes: &[Code], route: Route) -> Value {
    let mut headers = vec!["Cache-Control"];
    match status {
        415 => headers.extend(["Accept", "Accept-Encoding"]),
        429 | 503 => headers.push("Retry-After"),
        _ => {}
    }
    // A failed read also reports its provenance. The limits refuse a request before any look-up.
    if matches!(route, Route::Records | Route::Record) {
        headers.extend(["Cache-Status", "Server-Timing"]);
        if status == 412 {
            headers.push("Age");
        }
    }
    let words: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    response(&format!("{}.", words.join(", ")), &headers, method, Some(("application/problem+json", "Problem")))
}

/// `content`: its media type and schema. The answer to HEAD has none.
fn response(text: &str, headers: &[&str], method: &str, content: Option<(&str, &str)>) -> Value {
    let of_all = ["X-Instance", "X-Request-Id", "traceparent"];
    let headers: Map<String, Value> =
        of_all.iter().chain(headers).map(|name| ((*name).to_owned(), reference("headers", name))).collect();
    let mut response = json!({ "description": text, "headers": headers });
    if let Some((media_type, schema)) = content.filter(|_| method != "HEAD") {
        response["content"] = json!({ media_type: { "schema": reference("schemas", schema) } });
    }
    response
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

#[test]
fn the_document_is_what_the_table_of_operations_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/routes/openapi.json");
    let text = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
    #[expect(clippy::disallowed_methods, reason = "set by hand to write the page anew")]
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    if update {
        fs::write(&path, &text).expect("the document can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "openapi.json is stale; UPDATE_DOCS=1 cargo test -p api --lib openapi writes it anew");
}
