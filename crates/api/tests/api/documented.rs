//! Checks every answer in any test against `/openapi.json`: its status, media type, headers and body are documented.

use std::sync::LazyLock;

use api::{middleware::route::Route, problem::catalogue::Kind, routes::openapi::DOCUMENT};
use serde_json::Value;

use crate::http::Answer;

static OPENAPI: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(DOCUMENT).expect("JSON"));

/// Of the connection, or added by the proxy.
const OF_THE_TRANSPORT: [&str; 8] =
    ["content-type", "content-length", "date", "connection", "transfer-encoding", "server", "vary", "content-encoding"];

/// Only when there is something to say.
const OPTIONAL: [&str; 5] = ["Cache-Status", "Server-Timing", "Age", "Accept", "Accept-Encoding"];

/// The document.
pub fn document() -> &'static Value {
    &OPENAPI
}

/// Panics when the answer is not as documented.
pub fn check(method: &str, path: &str, answer: &Answer) {
    if answer.header("x-instance") == "nginx" {
        assert!(
            Kind::find(answer.problem_code()).is_some_and(|kind| kind.status == answer.status.as_u16()),
            "{answer:?}"
        );
        return;
    }
    let route = Route::of(path);
    let operation = &OPENAPI["paths"][route.as_str()][method.to_lowercase()];
    if operation.is_null() {
        assert!([404, 405].contains(&answer.status.as_u16()), "{method} {path} is not documented: {answer:?}");
        return;
    }
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{method} {path}: {} is not documented: {answer:?}", answer.status);
    check_headers(&format!("{method} {path}"), response, answer);
    check_body(&format!("{method} {path}"), method, response, answer);
}

fn check_headers(what: &str, response: &Value, answer: &Answer) {
    let documented = response["headers"].as_object().expect("headers");
    for name in answer.headers.keys().map(reqwest::header::HeaderName::as_str) {
        let is_known =
            OF_THE_TRANSPORT.contains(&name) || documented.keys().any(|known| known.eq_ignore_ascii_case(name));
        assert!(is_known, "{what}: {name} is not documented: {answer:?}");
    }
    for name in documented.keys().filter(|name| !OPTIONAL.contains(&name.as_str())) {
        assert!(answer.headers.contains_key(name), "{what}: {name} is documented and missing: {answer:?}");
    }
}

fn check_body(what: &str, method: &str, response: &Value, answer: &Answer) {
    let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
    let Some(content) = response["content"].as_object() else {
        assert!(method == "HEAD" || media_type.is_empty(), "{what}: no content is documented: {answer:?}");
        assert_eq!(answer.body, "", "{what}: no body is documented");
        return;
    };
    let schema =
        content.get(media_type).unwrap_or_else(|| panic!("{what}: {media_type:?} is not documented: {answer:?}"));
    if let Err(error) = validate(&schema["schema"], &answer.body) {
        panic!("{what}: {error}: {answer:?}");
    }
    if media_type == "application/problem+json" {
        let codes = response["description"].as_str().expect("text");
        assert!(
            codes.contains(&format!("`{}`", answer.problem_code())),
            "{what}: the code is not documented: {answer:?}"
        );
    }
}

/// The keywords of JSON Schema that the document uses.
fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found =
            OPENAPI.pointer(reference.trim_start_matches('#')).ok_or_else(|| format!("{reference} leads nowhere"))?;
        return validate(found, value);
    }
    let is_of = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("null") => value.is_null(),
        _ => false,
    };
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    if !schema["type"].is_null() && !kinds.iter().any(is_of) {
        return Err(format!("{value} is not of type {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        value.get(name).ok_or_else(|| format!("{name} is missing"))?;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => validate(schema, member).map_err(|error| format!("{name}: {error}"))?,
            None if schema["additionalProperties"] == false => return Err(format!("{name} is not documented")),
            None => {}
        }
    }
    value.as_array().into_iter().flatten().try_for_each(|item| validate(&schema["items"], item))
}
