//! A response head: the length of the body, whether the connection stays open, and the headers by which answers are
//! counted.

use std::mem::MaybeUninit;

use httparse::{ParserConfig, Response, Status};

use super::response::ProtocolError;
use crate::check::Check;
use crate::outcome::{CacheResult, Label, Labels};

/// The number of headers in a fixed array, so that parsing a head does not allocate. More than servers usually send …
const USUAL_HEADERS: usize = 64;
/// … and if there are more, up to the number that fits into the longest accepted head.
const MAX_HEADERS: usize = 4_096;

/// How the end of the body is determined (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    /// The replica that answered: `X-Instance`.
    pub(crate) instance: Label,
    /// The value of `Cache-Status`.
    pub(crate) cache: Option<CacheResult>,
    /// The checks that the headers pass, one bit for each.
    pub(crate) met: u32,
    /// Whether the body is a JSON document that may contain a problem's `code`.
    pub(crate) json: bool,
}

/// Parses a head at the start of `bytes`. Returns its length and meaning, or `None` if it is incomplete.
pub(crate) fn parse(
    bytes: &[u8],
    to_head_request: bool,
    checks: &[Check],
    labels: &mut Labels,
) -> Result<Option<(usize, Head)>, ProtocolError> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut many = Vec::new();
    let mut response = Response::new(&mut []);
    let parser = ParserConfig::default();
    let mut parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut usual);
    if parsed == Err(httparse::Error::TooManyHeaders) {
        many.resize_with(MAX_HEADERS, MaybeUninit::uninit);
        response = Response::new(&mut []);
        parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut many);
    }
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(ProtocolError::Head(error)),
    };
    let status = response.code.unwrap_or(0);
    if !(100..600).contains(&status) {
        return Err(ProtocolError::Status(status));
    }

    let is_1_1 = response.version == Some(1);
    let mut content_length = None;
    let mut codings = Codings::default();
    let mut head = Head {
        status,
        framing: Framing::Length(0),
        keep_alive: is_1_1,
        instance: Label::NONE,
        cache: None,
        met: 0,
        json: false,
    };
    for header in response.headers.iter() {
        for (bit, check) in checks.iter().enumerate() {
            head.met |= u32::from(check.is_met_by_header(header.name, header.value)) << bit;
        }
        // The length is compared first, because most headers are none of these.
        match header.name.len() {
            10 if header.name.eq_ignore_ascii_case("connection") => {
                if has_token(header.value, b"close") {
                    head.keep_alive = false;
                } else if !is_1_1 && has_token(header.value, b"keep-alive") {
                    head.keep_alive = true;
                }
            }
            10 if header.name.eq_ignore_ascii_case("x-instance") => head.instance = labels.intern(header.value),
            12 if header.name.eq_ignore_ascii_case("cache-status") => {
                head.cache = Some(CacheResult::read(header.value));
            }
            12 if header.name.eq_ignore_ascii_case("content-type") => head.json = is_json(header.value),
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let value = parse_length(header.value).ok_or(ProtocolError::ContentLength)?;
                if content_length.replace(value).is_some_and(|earlier| earlier != value) {
                    return Err(ProtocolError::ContentLength);
                }
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => codings.add(header.value),
            _ => {}
        }
    }

    head.framing = if to_head_request || status < 200 || status == 204 || status == 304 {
        Framing::Length(0)
    } else {
        framing(content_length, &codings, is_1_1)?
    };
    if head.framing == Framing::UntilClose {
        head.keep_alive = false;
    }
    Ok(Some((length, head)))
}

/// How the end of the body is determined if there may be one.
fn framing(length: Option<u64>, codings: &Codings, is_1_1: bool) -> Result<Framing, ProtocolError> {
    match length {
        // Both together, or a coding in HTTP/1.0, is a method of response smuggling, so it is an error.
        Some(_) if codings.is_any => Err(ProtocolError::Framing),
        None if codings.is_any && !is_1_1 => Err(ProtocolError::Framing),
        None if codings.is_any => codings.framing(),
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::UntilClose),
    }
}

/// Digits only. `str::parse` and lenient clients differ on `+5`, `5, 5` and `0x5`.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    tokens(value).any(|t| t.eq_ignore_ascii_case(token))
}

/// The transfer codings of all lines together, which form one list (RFC 9110 §5.3).
#[derive(Default)]
struct Codings {
    is_any: bool,
    chunked: usize,
    ends_chunked: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        for token in tokens(value) {
            self.is_any = true;
            self.ends_chunked = token.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.ends_chunked);
        }
    }

    /// Chunked may be applied only once, and last.
    fn framing(&self) -> Result<Framing, ProtocolError> {
        match (self.chunked, self.ends_chunked) {
            (0, _) => Ok(Framing::UntilClose),
            (1, true) => Ok(Framing::Chunked),
            _ => Err(ProtocolError::Framing),
        }
    }
}

fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/problem+json") || essence.eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, ProtocolError> {
        let head = parse(text.as_bytes(), false, &[], &mut Labels::default())?;
        Ok(head.expect("a complete head").1)
    }

    fn framing_of(headers: &str) -> Result<Framing, ProtocolError> {
        head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).map(|h| h.framing)
    }

    #[test]
    fn finds_the_end_of_the_body() {
        assert_eq!(framing_of("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing_of("content-length:  7 \r\nContent-Length: 7\r\n"), Ok(Framing::Length(7)));
        assert_eq!(framing_of("Transfer-Encoding: gzip, Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing_of("Transfer-Encoding: gzip\r\n"), Ok(Framing::UntilClose));
        assert_eq!(framing_of("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing_of(""), Ok(Framing::UntilClose));
        for status in [103, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 12\r\n\r\n");
            assert_eq!(head(&text).unwrap().framing, Framing::Length(0), "{status}");
        }
        let to_head =
            parse(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", true, &[], &mut Labels::default()).unwrap();
        assert_eq!(to_head.unwrap().1.framing, Framing::Length(0));
    }

    #[test]
    fn makes_no_guess_about_contradictions() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding: identity\r\n",
        ] {
            assert!(framing_of(headers).is_err(), "{headers:?}");
        }
        assert_eq!(head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(ProtocolError::Framing));
        assert_eq!(head("HTTP/1.1 600 No\r\n\r\n"), Err(ProtocolError::Status(600)));
        assert_eq!(head("HTTP/1.1 099 No\r\n\r\n"), Err(ProtocolError::Status(99)));
    }

    #[test]
    fn knows_whether_the_connection_lives_on() {
        for (text, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
        ] {
            assert_eq!(head(text).unwrap().keep_alive, keep_alive, "{text:?}");
        }
    }

    #[test]
    fn reads_who_answered_and_from_where() {
        let mut labels = Labels::default();
        let text =
            b"HTTP/1.1 200 OK\r\nX-Instance: api-2\r\nCache-Status: redis; hit; ttl=27\r\nContent-Length: 0\r\n\r\n";
        let (_, head) = parse(text, false, &[], &mut labels).unwrap().unwrap();
        assert_eq!(labels.name(head.instance), "api-2");
        assert_eq!(head.cache, Some(CacheResult::Hit));
    }

    #[test]
    fn many_headers_are_read_and_a_flood_is_refused() {
        let with = |count: usize| format!("HTTP/1.1 200 OK\r\n{}Content-Length: 3\r\n\r\n", "A: b\r\n".repeat(count));
        for count in [63, 64, 65, 300, MAX_HEADERS - 1] {
            assert_eq!(head(&with(count)).map(|head| head.framing), Ok(Framing::Length(3)), "{count}");
        }
        assert_eq!(head(&with(MAX_HEADERS)), Err(ProtocolError::Head(httparse::Error::TooManyHeaders)));
    }
}
