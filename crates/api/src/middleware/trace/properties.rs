//! Properties that hold for every `traceparent`.

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{LENGTH, SPAN_ID, TRACE_ID, Trace, sane};
use crate::middleware::request_id::RequestId;

/// An independent implementation of the standard, field by field (W3C Trace Context, 3.2.2).
fn is_by_the_standard(text: &[u8]) -> bool {
    let fields: Vec<&[u8]> = text.splitn(5, |byte| *byte == b'-').collect();
    let [version, trace_id, parent_id, flags, later @ ..] = &fields[..] else { return false };
    let hex = |field: &[u8], length| {
        field.len() == length && field.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    let id = |field: &[u8], length| hex(field, length) && field.iter().any(|byte| *byte != b'0');
    hex(version, 2)
        && *version != b"ff"
        && id(trace_id, 32)
        && id(parent_id, 16)
        && hex(flags, 2)
        && (later.is_empty() || *version != b"00")
}

/// Valid headers, and headers with one byte changed, removed or added.
fn traceparent() -> impl Strategy<Value = Vec<u8>> {
    let good = ("(00|[0-9a-f]{2})", "(0{32}|[0-9a-f]{32})", "(0{16}|[0-9a-f]{16})", "[0-9a-f]{2}", "(-[!-~]{0,9})?");
    let good = good.prop_map(|(version, trace, span, flags, more)| format!("{version}-{trace}-{span}-{flags}{more}"));
    (good, 0u8..4, any::<prop::sample::Index>(), b' '..=b'~').prop_map(|(good, change, at, byte)| {
        let mut text = good.into_bytes();
        let at = at.index(text.len());
        match change {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            2 => text.truncate(at),
            _ => {}
        }
        text
    })
}

proptest! {
    #[test]
    fn is_taken_as_the_standard_has_it(text in prop_oneof![traceparent(), proptest::collection::vec(any::<u8>(), 0..80)]) {
        let taken = sane(&text);
        prop_assert_eq!(taken.is_some(), is_by_the_standard(&text), "{}", text.escape_ascii());
        prop_assert!(taken.is_none_or(|taken| taken.len() == LENGTH && text.starts_with(taken)));
    }

    #[test]
    fn what_is_passed_on_is_always_sane_and_goes_on_with_a_sane_one_only(text in traceparent(), id in "[ -~]{0,40}|[0-9a-f]{32}") {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_str(&id).expect("visible"));
        headers.insert("traceparent", HeaderValue::from_bytes(&text).expect("visible"));
        let request_id = RequestId::take_or_make(&headers);
        let trace = Trace::continue_or_begin(&headers, &request_id);
        let passed_on = trace.header();
        prop_assert!(is_by_the_standard(passed_on.as_bytes()) && passed_on.len() == LENGTH);
        prop_assert!(passed_on.as_bytes().starts_with(b"00-"));
        prop_assert_eq!(trace.id().as_bytes(), &passed_on.as_bytes()[TRACE_ID]);
        let goes_on = text.get(TRACE_ID) == Some(trace.id().as_bytes());
        prop_assert_eq!(goes_on, is_by_the_standard(&text));
        prop_assert!(text.get(SPAN_ID) != Some(&passed_on.as_bytes()[SPAN_ID]), "a span of this hop's own");
    }
}
