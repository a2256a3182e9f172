//! Requests that are prepared once: the bytes of a request with gaps for the few values that change between requests.
//!
//! In paths, header values and bodies `{id}` stands for a value of the variable with that name, `{n}` for the number of
//! the request in the run, and `{run}` for a number that is different in each run (for idempotency keys). Braces around
//! anything but a name are ordinary text, so JSON needs no escapes; `{{id}}` is the text `{id}`.

use std::io::Write;

use crate::check::Check;
use crate::ids::Ids;

/// One kind of request, as a user describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSpec {
    /// The name in reports and conditions; method and path if none is given.
    pub name: Option<String>,
    pub method: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// The checks that an answer must pass to be a success, besides its status.
    pub checks: Vec<Check>,
    /// The relative frequency of this kind.
    pub weight: f64,
}

impl RequestSpec {
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            name: None,
            method: "GET".to_owned(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
            checks: Vec::new(),
            weight: 1.0,
        }
    }
}

/// The part of a [`RequestSpec`] that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Method,
    Path,
    Headers,
    Body,
    Weight,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Value(usize),
}

#[derive(Clone, Debug)]
struct Template {
    /// Up to the value of `Content-Length`, or the whole head if there is no body.
    head: Vec<Part>,
    body: Option<Vec<Part>>,
    is_head: bool,
    /// The variables that it uses.
    uses: Vec<usize>,
}

/// All kinds of requests of a run, and the values of the variables.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    templates: Vec<Template>,
    /// For each template the cumulative weight, normalized to 1.
    shares: Vec<f64>,
    ids: Vec<Ids>,
    run: u64,
}

/// Data about the request that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The index of its kind in the plan.
    pub(crate) kind: usize,
    /// Whether its answer has no body.
    pub(crate) is_head: bool,
}

/// The values for one request: `{n}`, `{run}`, then the variables.
type Values = [u64; BUILT_IN.len() + MAX_VARIABLES];
const BUILT_IN: [&str; 2] = ["n", "run"];
pub(crate) const MAX_VARIABLES: usize = 8;

impl Mix {
    /// Prepares the requests for a server with the name `host`.
    ///
    /// # Errors
    /// The index of the invalid request, the field and the reason.
    pub(crate) fn new(
        specs: &[RequestSpec],
        variables: &[(String, Ids)],
        host: &str,
        keep_alive: bool,
    ) -> Result<Self, (usize, Field, String)> {
        let names: Vec<&str> = BUILT_IN.into_iter().chain(variables.iter().map(|(name, _)| name.as_str())).collect();
        let mut templates = Vec::with_capacity(specs.len());
        let mut shares = Vec::with_capacity(specs.len());
        let total: f64 = specs.iter().map(|spec| spec.weight).sum();
        let mut sum = 0.0;
        for (index, spec) in specs.iter().enumerate() {
            if !(spec.weight > 0.0 && spec.weight.is_finite()) {
                return Err((index, Field::Weight, format!("weight must be above 0, not {}", spec.weight)));
            }
            sum += spec.weight / total;
            shares.push(sum);
            templates.push(prepare(spec, &names, host, keep_alive).map_err(|(field, why)| (index, field, why))?);
        }
        let ids = variables.iter().map(|(_, ids)| ids.clone()).collect();
        Ok(Self { templates, shares, ids, run: 0 })
    }

    /// Sets the value of `{run}`.
    pub(crate) fn for_run(mut self, run: u64) -> Self {
        self.run = run;
        self
    }

    /// Writes request number `n` into `out`.
    pub(crate) fn write(&self, n: u64, chance: &mut fastrand::Rng, out: &mut Vec<u8>) -> Written {
        let kind = match self.templates.len() {
            1 => 0,
            several => {
                let dice = chance.f64();
                self.shares.iter().position(|share| dice < *share).unwrap_or(several - 1)
            }
        };
        let template = &self.templates[kind];
        let mut values: Values = [0; _];
        values[0] = n;
        values[1] = self.run;
        for variable in &template.uses {
            values[BUILT_IN.len() + variable] = self.ids[*variable].pick(n, chance);
        }
        out.clear();
        write_parts(&template.head, &values, out);
        if let Some(body) = &template.body {
            write_number(out, body.iter().map(|part| part.length(&values)).sum());
            out.extend_from_slice(b"\r\n\r\n");
            write_parts(body, &values, out);
        }
        Written { kind, is_head: template.is_head }
    }
}

impl Part {
    fn length(&self, values: &Values) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Value(at) => u64::from(values[*at].checked_ilog10().unwrap_or(0)) + 1,
        }
    }
}

fn write_parts(parts: &[Part], values: &Values, out: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Value(at) => write_number(out, values[*at]),
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    // Writing to a Vec cannot fail.
    let _infallible = write!(out, "{number}");
}

/// The generator itself sets the headers that frame the message or control the connection. `Expect: 100-continue` is
/// allowed: a client need not wait for the 100 before it sends the body (RFC 9110 §10.1.1), and this one does not.
const RESERVED: [&str; 4] = ["content-length", "transfer-encoding", "connection", "upgrade"];

fn prepare(spec: &RequestSpec, names: &[&str], host: &str, keep_alive: bool) -> Result<Template, (Field, String)> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    if !is_token(&spec.method) || spec.method == "CONNECT" {
        return Err((Field::Method, format!("{:?} is no method to send", spec.method)));
    }
    if !spec.path.starts_with('/') || !spec.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err((
            Field::Path,
            format!("{:?} must begin with / and hold no spaces or special characters", spec.path),
        ));
    }
    let mut text = format!("{} {} HTTP/1.1\r\n", spec.method, spec.path);
    let given = |name: &str| spec.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    for (name, default) in
        [("Host", host), ("User-Agent", concat!("load/", env!("CARGO_PKG_VERSION"))), ("Accept", "*/*")]
    {
        if !given(name) {
            text.push_str(&format!("{name}: {default}\r\n"));
        }
    }
    if !keep_alive {
        text.push_str("Connection: close\r\n");
    }
    for (name, value) in &spec.headers {
        if !is_token(name) || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err((Field::Headers, format!("{name:?}: {value:?} is no header")));
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err((Field::Headers, format!("{name} is set by the generator itself")));
        }
        text.push_str(&format!("{name}: {}\r\n", value.trim()));
    }
    text.push_str(if spec.body.is_some() { "Content-Length: " } else { "\r\n" });
    let head = split(&text, names).map_err(|why| (Field::Path, why))?;
    let body = spec.body.as_deref().map(|body| split(body, names).map_err(|why| (Field::Body, why))).transpose()?;
    let mut uses: Vec<usize> = head.iter().chain(body.iter().flatten()).filter_map(Part::variable).collect();
    uses.sort_unstable();
    uses.dedup();
    Ok(Template { head, body, is_head: spec.method == "HEAD", uses })
}

impl Part {
    /// The variable that it uses, unless it is text or built in.
    fn variable(&self) -> Option<usize> {
        match self {
            Self::Text(_) => None,
            Self::Value(at) => at.checked_sub(BUILT_IN.len()),
        }
    }
}

/// Splits a text at its `{name}` gaps.
fn split(text: &str, names: &[&str]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        plain.push_str(before);
        if let Some(name) = from.strip_prefix("{{").and_then(leading_name)
            && from[name.len() + 2..].starts_with("}}")
        {
            plain.push_str(&from[1..name.len() + 3]);
            rest = &from[name.len() + 4..];
            continue;
        }
        let Some(name) = leading_name(&from[1..]).filter(|name| from[name.len() + 1..].starts_with('}')) else {
            plain.push('{');
            rest = &from[1..];
            continue;
        };
        let Some(value) = names.iter().position(|known| *known == name) else {
            let known = names.join(", ");
            return Err(format!("{{{name}}} is not known here; there are: {known}; as text it is {{{{{name}}}}}"));
        };
        parts.push(Part::Text(std::mem::take(&mut plain).into_bytes()));
        parts.push(Part::Value(value));
        rest = &from[name.len() + 2..];
    }
    plain.push_str(rest);
    parts.push(Part::Text(plain.into_bytes()));
    Ok(parts)
}

/// The name at the start of a text.
fn leading_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Pick;

    fn written(spec: RequestSpec, n: u64) -> String {
        let variables = [("id".to_owned(), Ids::new(100..=200, Pick::Sequence, 1.0).unwrap())];
        let mix = Mix::new(&[spec], &variables, "h:1", true).unwrap().for_run(77);
        let mut out = b"left over".to_vec();
        mix.write(n, &mut fastrand::Rng::with_seed(1), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fills_the_gaps_and_counts_the_body() {
        let spec = RequestSpec {
            method: "POST".into(),
            headers: vec![("Idempotency-Key".into(), "{run}-{n}".into()), ("user-agent".into(), "me".into())],
            body: Some(r#"{"name":"n{n}","of":{"id":{id}},"x":{}}"#.into()),
            ..RequestSpec::get("/data?i={id}")
        };
        let body = r#"{"name":"n12","of":{"id":112},"x":{}}"#;
        let expected = format!(
            "POST /data?i=112 HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nIdempotency-Key: 77-12\r\nuser-agent: me\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(written(spec, 12), expected);
    }

    #[test]
    fn doubled_braces_are_the_name_itself() {
        let spec = RequestSpec {
            headers: vec![("Expect".into(), "100-continue".into())],
            body: Some(r#"{"a":"{{id}}","b":"{{nobody}}{id}","c":{{"d":{id}}}}"#.into()),
            ..RequestSpec::get("/{{id}}/{id}")
        };
        let text = written(spec, 3);
        assert!(
            text.starts_with("GET /{id}/103 HTTP/1.1\r\n") && text.contains("\r\nExpect: 100-continue\r\n"),
            "{text}"
        );
        assert!(text.ends_with(r#"{"a":"{id}","b":"{nobody}103","c":{{"d":103}}}"#), "{text}");
    }

    #[test]
    fn a_plain_get_is_what_curl_would_send() {
        let text = written(RequestSpec::get("/data/1"), 0);
        assert!(text.starts_with("GET /data/1 HTTP/1.1\r\nHost: h:1\r\nUser-Agent: load/"), "{text}");
        assert!(text.ends_with("\r\nAccept: */*\r\n\r\n"), "{text}");
    }

    #[test]
    fn weights_decide_how_often() {
        let specs = [RequestSpec { weight: 9.0, ..RequestSpec::get("/a") }, RequestSpec::get("/b")];
        let mix = Mix::new(&specs, &[], "h", false).unwrap();
        let (mut chance, mut out) = (fastrand::Rng::with_seed(5), Vec::new());
        let a = (0..10_000).filter(|n| {
            mix.write(*n, &mut chance, &mut out);
            out.starts_with(b"GET /a ") && out.windows(17).any(|w| w == b"Connection: close")
        });
        let a = a.count();
        assert!((8_800..9_200).contains(&a), "{a}");
    }

    #[test]
    fn names_the_field_at_fault() {
        let field =
            |spec: RequestSpec| Mix::new(&[RequestSpec::get("/"), spec], &[], "h", true).map_err(|e| (e.0, e.1));
        let get = RequestSpec::get("/");
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for (spec, at) in [
            (RequestSpec { method: "GE T".into(), ..get.clone() }, Field::Method),
            (RequestSpec::get("data"), Field::Path),
            (RequestSpec::get("/a b"), Field::Path),
            (RequestSpec::get("/{nobody}"), Field::Path),
            (RequestSpec { headers: header("X", "a\r\nb: c"), ..get.clone() }, Field::Headers),
            (RequestSpec { headers: header("content-LENGTH", "3"), ..get.clone() }, Field::Headers),
            (RequestSpec { body: Some("{nobody}".into()), ..get.clone() }, Field::Body),
            (RequestSpec { weight: 0.0, ..get.clone() }, Field::Weight),
            (RequestSpec { weight: f64::NAN, ..get }, Field::Weight),
        ] {
            assert_eq!(field(spec).unwrap_err(), (1, at));
        }
    }
}
