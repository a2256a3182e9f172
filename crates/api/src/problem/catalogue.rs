//! The meaning of each code, and what a client does about it: the pages that the `type` of a problem refers to (RFC
//! 9457, 3.1.1), served at `/problems/<code>` and stored in docs/problems/. The titles are defined here too; they do
//! not change from one occurrence to the next (3.1.3).

use std::{fmt::Write as _, iter};

use strum::VariantArray;

use super::Code;

/// The path of the pages; the reference in `type` is this path and the code.
pub const BASE: &str = "/problems/";

/// Problems that only the proxy in front of the replicas sends. Their bodies are in nginx/nginx.conf; a test compares
/// them with this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum ProxyCode {
    /// The path is not public.
    Forbidden,
    /// The proxy does not support the transfer coding.
    NotImplemented,
    /// No replica could be reached.
    BadGateway,
    /// No replica answered in time.
    GatewayTimeout,
    /// The HTTP version is not supported.
    HttpVersionNotSupported,
}

impl ProxyCode {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::NotImplemented => 501,
            Self::BadGateway => 502,
            Self::GatewayTimeout => 504,
            Self::HttpVersionNotSupported => 505,
        }
    }
}

/// One kind of problem.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The word.
    pub code: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The member `title`.
    pub title: &'static str,
    /// What happened, and whether anything was done.
    meaning: &'static str,
    /// What a client does now.
    advice: &'static str,
}

impl Kind {
    /// Every kind of problem, with those of the replicas first.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_replicas = Code::VARIANTS.iter().copied().map(Self::of);
        of_replicas.chain(ProxyCode::VARIANTS.iter().copied().map(Self::of_proxy))
    }

    /// The kind with this code.
    pub fn find(code: &str) -> Option<Self> {
        Self::all().find(|kind| kind.code == code)
    }

    /// The page of the kind, in Markdown.
    pub fn page(&self) -> String {
        let Self { code, status, title, meaning, advice } = self;
        let mut page = format!("# {title}\n\n`{code}`, status {status}\n");
        for (heading, text) in [("What happened", meaning), ("What to do", advice)] {
            // Writing to memory cannot fail.
            let _ = write!(page, "\n## {heading}\n\n{}\n", wrapped(text));
        }
        page
    }

    const fn of(code: Code) -> Self {
        let (title, meaning, advice) = of_replica(code);
        Self { code: code.as_str(), status: code.status(), title, meaning, advice }
    }

    const fn of_proxy(code: ProxyCode) -> Self {
        let (title, meaning, advice) = of_proxy(code);
        Self { code: code.into_str(), status: code.status(), title, meaning, advice }
    }
}

/// A code's title.
pub const fn title(code: Code) -> &'static str {
    of_replica(code).0
}

/// Title, meaning and advice.
type Texts = (&'static str, &'static str, &'static str);

const REPEAT: &str = "Send the request again after the seconds in Retry-After.";

const fn of_replica(code: Code) -> Texts {
    match code {
        Code::InvalidRequest => (
            "The request is not valid",
            "The path, the query, a header or the body is not as this service wants it; `detail` says which and why. Nothing was done.",
            "Correct the request. The same request fails again.",
        ),
        Code::NotFound => (
            "There is nothing here",
            "No record has this id, or no route has this path.",
            "Check the path. A record may have been deleted, and its id is never reused.",
        ),
        Code::MethodNotAllowed => (
            "The method is not allowed here",
            "The route exists and does not have this method. Nothing was done.",
            "Use one of the methods in Allow. OPTIONS lists them, too.",
        ),
        Code::RequestTimeout => (
            "The request did not arrive in time",
            "The head or the body came too slowly, and the connection is closed. Nothing was done.",
            "Send the request again over a new connection, without pauses.",
        ),
        Code::PreconditionFailed => (
            "The condition is not met",
            "If-Match does not name the present version of the record, there is no record that it could name, or If-None-Match names what is there. Nothing was done.",
            "GET the record, decide with its present version, and send the request again with that version's ETag.",
        ),
        Code::PayloadTooLarge => (
            "The body is too large",
            "A body may have 128 KiB. It was not read to its end, and the connection may be closed. Nothing was done.",
            "Send a smaller body. No record is larger than 16 KiB of value and 200 characters of name.",
        ),
        Code::UriTooLong => (
            "The request target is too long",
            "A path with its query may have 4 KiB in a replica, and the request line 8 KiB in the proxy. Nothing was done.",
            "Shorten the target. No valid one is longer than 100 bytes.",
        ),
        Code::UnsupportedMediaType => (
            "The body is of a kind that is not read here",
            "A body has to be `application/json` in UTF-8, without a Content-Encoding. Nothing was done.",
            "Send what Accept and Accept-Encoding of the answer say: JSON in UTF-8, not compressed.",
        ),
        Code::IdempotencyKeyReused => (
            "The Idempotency-Key belongs to another request",
            "A POST with the same key and another body was answered within the last 24 hours. Nothing was done.",
            "Use a new key for a new record.",
        ),
        Code::RateLimited => {
            ("Too many requests", "More requests came in this second than are allowed. Nothing was done.", REPEAT)
        }
        Code::HeadersTooLarge => (
            "The request head is too large",
            "All header fields together may have 16 KiB in a replica; in the proxy one may have 8 KiB. Nothing was done.",
            "Send fewer or shorter header fields. Cookies are not used here.",
        ),
        Code::ClientClosed => (
            "The client closed the connection",
            "The client disconnected before the answer. This code is never sent; it is only in logs and metrics. A write may have taken effect.",
            "Wait for 2 s at least before a request is given up: every answer comes within that time.",
        ),
        Code::Internal => (
            "The service failed",
            "A defect of this service. Its log has the cause under the request id. A write may have taken effect.",
            "Report the request id. Send again what may be sent twice: GET, PUT, DELETE, and POST with an Idempotency-Key.",
        ),
        Code::Overloaded => (
            "The service is at its limit",
            "Every place for a request was taken. The request was refused before anything was done.",
            REPEAT,
        ),
        Code::DatabaseUnavailable => (
            "The database cannot be reached",
            "The database refused the connection or ended it. A write may have taken effect when it ended in the middle.",
            REPEAT,
        ),
        Code::DatabaseNotAsked => (
            "The database is not asked now",
            "The database has failed several times in a row, so no requests are sent to it for a short time. The request was refused before anything was done.",
            REPEAT,
        ),
        Code::DatabaseBusy => (
            "The database has no connection free",
            "Every connection to the database was in use. Nothing was done.",
            REPEAT,
        ),
        Code::DatabaseTimeout => (
            "The database did not answer in time",
            "A statement took too long and was given up. A write may or may not have taken effect.",
            "Send again what may be sent twice: GET, PUT, DELETE, and POST with an Idempotency-Key.",
        ),
        Code::DatabaseReadOnly => (
            "The database takes no writes",
            "The database is a standby or set to read-only, as during a failover. Reads work. Nothing was done.",
            REPEAT,
        ),
        Code::DatabaseFull => (
            "The database has no room for writes",
            "The disk of the database is full. Reads work. Nothing was done.",
            REPEAT,
        ),
        Code::RecordLocked => (
            "The record is locked",
            "Another transaction holds the record, and did not end in time. Nothing was done.",
            REPEAT,
        ),
        Code::DeadlineExceeded => (
            "The request took too long",
            "The time for an answer was over before there was one. A write may have taken effect.",
            "Send again what may be sent twice: GET, PUT, DELETE, and POST with an Idempotency-Key.",
        ),
        Code::Draining => (
            "The replica is shutting down",
            "This replica is shutting down and accepts no new work.",
            "Send the request again over a new connection: another replica answers.",
        ),
    }
}

const fn of_proxy(code: ProxyCode) -> Texts {
    match code {
        ProxyCode::Forbidden => (
            "This path is not served to the outside",
            "The proxy does not pass this path on. Nothing was done.",
            "Ask a replica itself, from inside its network.",
        ),
        ProxyCode::NotImplemented => (
            "The transfer coding is not supported",
            "The proxy knows no Transfer-Encoding but chunked. Nothing was done.",
            "Send the body with a Content-Length.",
        ),
        ProxyCode::BadGateway => (
            "No replica could be reached",
            "The proxy could not connect to any replica, or the connection broke before the answer. A write may have taken effect.",
            "Send again what may be sent twice: GET, PUT, DELETE, and POST with an Idempotency-Key.",
        ),
        ProxyCode::GatewayTimeout => (
            "No replica answered in time",
            "The replicas that the proxy asked said nothing for 1 s each. A write may have taken effect.",
            "Send again what may be sent twice: GET, PUT, DELETE, and POST with an Idempotency-Key.",
        ),
        ProxyCode::HttpVersionNotSupported => (
            "The version of HTTP is not supported",
            "The proxy speaks HTTP/1.0 and HTTP/1.1. Nothing was done.",
            "Use HTTP/1.1.",
        ),
    }
}

/// Lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        let gap = match width {
            0 => "",
            _ if width + 1 + length > 100 => {
                width = 0;
                "\n"
            }
            _ => " ",
        };
        width += usize::from(gap == " ") + length;
        lines.extend(iter::once(gap).chain(iter::once(word)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;

    const FOLDER: &str = "docs/problems";

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    fn pages() -> BTreeMap<String, String> {
        let mut pages: BTreeMap<String, String> =
            Kind::all().map(|kind| (format!("{}.md", kind.code), kind.page())).collect();
        let mut index = "# Problems\n\n\
            <!-- Made from crates/api/src/problem/catalogue.rs by UPDATE_DOCS=1 cargo test -p api --lib problem -->\n\n\
            Every 4xx and 5xx is a problem document (RFC 9457). Its `type` leads to one of these pages, which each replica\n\
            serves at the same path; `code` is the same word.\n\n| code | status | title |\n| --- | --- | --- |\n"
            .to_owned();
        for kind in Kind::all() {
            let Kind { code, status, title, .. } = kind;
            writeln!(index, "| [`{code}`]({code}.md) | {status} | {title} |").expect("into memory");
        }
        pages.insert("README.md".to_owned(), index);
        pages
    }

    #[test]
    fn there_is_a_page_for_each_code_and_no_other() {
        let folder = root().join(FOLDER);
        #[expect(clippy::disallowed_methods, reason = "set by hand to write the page anew")]
        let update = std::env::var_os("UPDATE_DOCS").is_some();
        if update {
            fs::create_dir_all(&folder).expect("the folder can be made");
            for (name, page) in pages() {
                fs::write(folder.join(name), page).expect("the page can be written");
            }
        }
        let there: BTreeMap<String, String> = fs::read_dir(&folder)
            .expect("the folder is there")
            .map(|file| file.expect("readable"))
            .map(|file| {
                (file.file_name().to_string_lossy().into_owned(), fs::read_to_string(file.path()).expect("text"))
            })
            .collect();
        assert!(there == pages(), "{FOLDER} is stale; UPDATE_DOCS=1 cargo test -p api --lib problem writes it anew");
    }

    #[test]
    fn codes_and_titles_are_each_one_kinds_own() {
        let unique = |words: Vec<&str>| words.iter().collect::<std::collections::BTreeSet<_>>().len() == words.len();
        assert!(unique(Kind::all().map(|kind| kind.code).collect()));
        assert!(unique(Kind::all().map(|kind| kind.title).collect()));
    }

    /// The proxy's own bodies use the same codes, statuses, titles and types.
    #[test]
    fn the_proxy_speaks_of_the_same_kinds() {
        let configuration = fs::read_to_string(root().join("nginx/nginx.conf")).expect("nginx.conf");
        let bodies: Vec<serde_json::Value> = configuration
            .lines()
            .filter_map(|line| line.split_once('\'').filter(|(_, body)| body.starts_with("\"type\":")))
            .map(|(_, body)| format!("{{{}}}", body.trim_end_matches("';")))
            .map(|body| serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
            .collect();
        assert!(bodies.len() >= 12, "{bodies:?}");
        for body in &bodies {
            let kind = body["code"].as_str().and_then(Kind::find).unwrap_or_else(|| panic!("no kind has {body}"));
            assert_eq!(body["status"], kind.status, "{body}");
            assert_eq!(body["title"], kind.title, "{body}");
            assert_eq!(body["type"], format!("{BASE}{}", kind.code), "{body}");
            assert!(body["detail"].is_string(), "{body}");
        }
        for code in ProxyCode::VARIANTS {
            let code: &str = code.into_str();
            assert!(bodies.iter().any(|body| body["code"] == code), "nginx never says {code}");
        }
    }
}
