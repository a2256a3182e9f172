//! What keeps other web pages, other users and other machines out. The console listens on loopback only; beyond that:
//!
//! - `Host` has to be the console's own address: a name that was made to resolve to 127.0.0.1 (DNS rebinding) is refused.
//! - `Origin`, where a browser sends one, has to be the console itself.
//! - Everything that acts needs the token: it is in the printed address, and then in a cookie that no other site's request
//!   carries (`SameSite=Strict`) and no script reads (`HttpOnly`).
//! - Nothing is loaded from elsewhere and no inline script runs (`Content-Security-Policy`).

use std::{
    fs::File,
    io::{self, Read},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{hub::Hub, problem::Problem};

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                   form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A report is one page with its own script. In a sandbox it has no part in the console's origin: no cookie, no switches.
pub(super) const REPORT_CSP: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                                     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                                     sandbox allow-scripts allow-downloads";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers send a form with `Origin: null`, which is refused here.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// From the kernel: it guards the machine.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// 128 bits, as hexadecimal digits.
pub(super) fn token() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random()?)))
}

/// The outermost layer: refuses what does not come from the console's own page, and sets the headers of every answer.
pub(super) async fn guard(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let mut response = match check(request.headers(), &hub.options.authority) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CSP));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(headers: &HeaderMap, authority: &str) -> Result<(), Problem> {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let own = [authority.to_owned(), format!("localhost:{port}"), format!("[::1]:{port}")];
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("(not ASCII)"));
    let host = text(header::HOST).unwrap_or("");
    if !own.iter().any(|known| known == host) {
        let detail = format!("This server answers as http://{authority} only, not as `{host}`.");
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_host", detail));
    }
    match text(header::ORIGIN) {
        Some(origin) if !own.iter().any(|known| origin.strip_prefix("http://") == Some(known)) => {
            let detail = format!("The request comes from another page, `{origin}`.");
            Err(Problem::new(StatusCode::FORBIDDEN, "wrong_origin", detail))
        }
        _ => Ok(()),
    }
}

/// The cookie's name has the port: browsers send a host's cookies to all of its ports.
fn cookie_name(hub: &Hub) -> String {
    let port = hub.options.authority.rsplit_once(':').map_or("", |(_, port)| port);
    format!("lab_console_{port}")
}

/// The header that gives a browser the token of its address. `None`: it is another one.
pub(super) fn cookie_for(hub: &Hub, token: &str) -> Option<String> {
    let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", cookie_name(hub));
    is_same(token, &hub.options.token).then_some(cookie)
}

/// Whether a request carries the token.
pub(super) fn has_token(hub: &Hub, headers: &HeaderMap) -> Result<bool, Problem> {
    let name = cookie_name(hub);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|text| text.split("; ")).filter_map(|pair| pair.split_once('='));
    match pairs.into_iter().find(|(known, _)| *known == name) {
        None => Ok(false),
        Some((_, token)) if is_same(token, &hub.options.token) => Ok(true),
        Some(_) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "wrong_token",
            "The token is that of an earlier console; open the address that this one printed.".to_owned(),
        )),
    }
}

/// What everything that acts has to pass.
pub(super) fn may_act(hub: &Hub, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |code: &'static str, detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, detail.to_owned()));
    if hub.options.is_read_only {
        return refuse("read_only", "This console was started with --read-only.");
    }
    if has_token(hub, headers)? {
        return Ok(());
    }
    refuse("missing_token", "To act, open the address that `lab console` printed: it has the token.")
}

/// In a time that does not tell how much of it is right.
fn is_same(given: &str, expected: &str) -> bool {
    let differences = given.bytes().zip(expected.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == expected.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_its_own_names_and_pages_are_let_in() {
        let authority = "127.0.0.1:7070";
        let host = |value| (header::HOST, value);
        let origin = |value| (header::ORIGIN, value);
        for good in [
            headers(&[host("127.0.0.1:7070")]),
            headers(&[host("localhost:7070"), origin("http://localhost:7070")]),
            headers(&[host("127.0.0.1:7070"), origin("http://127.0.0.1:7070")]),
        ] {
            assert!(check(&good, authority).is_ok(), "{good:?}");
        }
        for bad in [
            headers(&[]),
            headers(&[host("127.0.0.1")]),
            headers(&[host("evil.example:7070")]),
            headers(&[host("127.0.0.1:7070"), origin("http://evil.example")]),
            headers(&[host("127.0.0.1:7070"), origin("null")]),
            headers(&[host("127.0.0.1:7070"), origin("https://127.0.0.1:7070")]),
            headers(&[host("127.0.0.1:7070"), origin("http://127.0.0.1:7071")]),
        ] {
            assert!(check(&bad, authority).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(is_same("abc", "abc"));
        for given in ["", "ab", "abd", "abcd"] {
            assert!(!is_same(given, "abc"), "{given}");
        }
        assert_ne!(token().unwrap(), token().unwrap());
        assert_eq!(token().unwrap().len(), 32);
    }
}
