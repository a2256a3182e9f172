//! The trace of a request (W3C Trace Context): the id that all hops of one client request share.
//!
//! The trace id is that of a well-formed `traceparent`, else the request id if it has the form of a trace id, else a
//! new one. The span id is new for each request. This service sends no HTTP requests, so the trace is only passed on in
//! the answer's `traceparent`, the log line and the body of a problem.

use axum::http::{HeaderMap, HeaderValue};

use super::{TRACEPARENT, hex, request_id::RequestId};

/// `00-` trace id `-` span id `-` flags.
const LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..55;

/// Template for a trace that begins here. The flag is "sampled", because every request is logged.
const BEGUN: [u8; LENGTH] = *b"00-00000000000000000000000000000000-0000000000000000-01";

/// This hop's `traceparent`. An array instead of a header value, so that it needs no allocation until it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Trace([u8; LENGTH]);

impl Trace {
    /// Continues the trace of the request, or begins a new one.
    pub fn continue_or_begin(headers: &HeaderMap, request_id: &RequestId) -> Self {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let parent = match (given.next(), given.next()) {
            (Some(parent), None) => sane(parent.as_bytes()),
            _ => None,
        };
        let mut text = BEGUN;
        match parent {
            Some(parent) => text.copy_from_slice(parent),
            None => {
                let id = request_id.as_bytes();
                match id.len() == TRACE_ID.len() && hex::is_id(id) {
                    true => text[TRACE_ID].copy_from_slice(id),
                    false => text[TRACE_ID].copy_from_slice(&hex::digits(random_trace_id())),
                }
            }
        }
        // The answer is version 00, whatever version the parent had.
        text[..2].copy_from_slice(b"00");
        text[SPAN_ID].copy_from_slice(&hex::digits(random_span_id())[16..]);
        Self(text)
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        str::from_utf8(&self.0[TRACE_ID]).unwrap_or_default()
    }

    /// The span id, a random number for this request.
    pub fn span(&self) -> u64 {
        let digits = str::from_utf8(&self.0[SPAN_ID]).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or_default()
    }

    /// `traceparent`.
    pub fn header(&self) -> HeaderValue {
        // Hexadecimal digits and dashes are always a valid header value.
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// The part of a `traceparent` that version 00 defines, if the whole value is well-formed.
fn sane(text: &[u8]) -> Option<&[u8]> {
    let known = text.get(..LENGTH)?;
    // A later version may have more fields after a dash. Version 00 may not, and version ff is invalid.
    let ends = match &text[LENGTH..] {
        [] => true,
        [b'-', ..] => known[..2] != *b"00",
        _ => false,
    };
    let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
    let version = are_hex(&known[..2]) && known[..2] != *b"ff";
    let ids = hex::is_id(&known[TRACE_ID]) && hex::is_id(&known[SPAN_ID]);
    (ends && dashes && version && ids && are_hex(&known[FLAGS])).then_some(known)
}

fn are_hex(text: &[u8]) -> bool {
    text.iter().all(|byte| hex::is_digit(*byte))
}

#[expect(clippy::disallowed_methods, reason = "an identifier, not a decision: nothing is to be repeated by a seed")]
fn random_trace_id() -> u128 {
    fastrand::u128(1..)
}

#[expect(clippy::disallowed_methods, reason = "an identifier, not a decision: nothing is to be repeated by a seed")]
fn random_span_id() -> u128 {
    fastrand::u64(1..).into()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(parents: &[&'static str], request_id: &'static str) -> (Trace, String) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append("traceparent", HeaderValue::from_static(parent));
        }
        headers.insert("x-request-id", HeaderValue::from_static(request_id));
        let id = RequestId::take_or_make(&headers);
        (Trace::continue_or_begin(&headers, &id), id.as_str().to_owned())
    }

    #[test]
    fn a_sane_trace_goes_on_under_a_span_of_our_own() {
        let (trace, _) = traced(&[GIVEN], "a");
        let header = trace.header();
        let header = header.to_str().expect("ASCII");
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(header.starts_with(&GIVEN[..36]) && header.ends_with("-01") && header != GIVEN, "{header}");
        assert_eq!(sane(header.as_bytes()), Some(header.as_bytes()));
        assert_ne!(traced(&[GIVEN], "a").0.header(), trace.header(), "each hop has its own span");
        let (later, _) = traced(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more"], "a");
        assert_eq!(later.id(), trace.id());
        assert!(later.header().as_bytes().starts_with(b"00-") && later.header().as_bytes().ends_with(b"-00"));
    }

    #[test]
    fn anything_else_begins_a_new_one() {
        for parent in [
            "",
            "x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            let (trace, _) = traced(&[parent], "a");
            assert_ne!(trace.id(), &GIVEN[3..35], "{parent}");
            assert_eq!(sane(trace.header().as_bytes()).map(<[u8]>::len), Some(LENGTH), "{parent}");
        }
        assert_ne!(traced(&[GIVEN, GIVEN], "a").0.id(), &GIVEN[3..35], "two parents are none");
    }

    #[test]
    fn a_request_id_of_the_right_form_is_the_trace_id() {
        assert_eq!(traced(&[], "4bf92f3577b34da6a3ce929d0e0e4736").0.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let (made, id) = traced(&[], "not sane!");
        assert_eq!(made.id(), id, "one number to look for");
        assert_ne!(traced(&[], "00000000000000000000000000000000").0.id(), "00000000000000000000000000000000");
    }
}
