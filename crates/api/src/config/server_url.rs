//! The URL of a server: how it is read, validated and shown.
//!
//! A URL may hold a password in two places: before the host, and in a parameter. Both are hidden wherever the URL is
//! shown. A URL whose password contains a raw `/`, `?`, `#` or `@` is refused: the character would move the end of the
//! host, so that part of the password would be shown and the client would connect to another host.

use std::{fmt, path::Path};

use secrecy::SecretString;
use url::Url;

use super::{reader::Reader, secret_file};

/// Replaces a hidden value.
const HIDDEN: &str = "[hidden]";

/// The URLs that one kind of server accepts.
pub(super) struct UrlForm {
    /// The environment variable, and the variables that name files to read instead.
    pub(super) variable: &'static str,
    pub(super) variable_file: &'static str,
    pub(super) password_file: &'static str,
    /// The server's name.
    pub(super) server: &'static str,
    pub(super) schemes: &'static [&'static str],
    pub(super) example: &'static str,
    /// Parameters after the `?` whose values may be shown.
    pub(super) shown: &'static [&'static str],
    /// Other accepted parameters, whose values may be secret. `name[…]` stands for every name of that form.
    pub(super) hidden: &'static [&'static str],
    /// Whether the server's client library accepts the URL. Its error messages may quote the password, so they are not
    /// used.
    pub(super) is_understood: fn(&str) -> bool,
}

/// A validated URL.
struct ServerUrl<'f> {
    url: Url,
    form: &'f UrlForm,
}

/// Reads the URL from its variable or its file, and the password from its own file if there is one. Records every
/// error; returns an empty URL if there is one.
pub(super) fn read(reader: &mut Reader, form: &UrlForm) -> SecretString {
    let text = read_text(reader, form);
    let password = reader.path(form.password_file, "file that holds the password alone, in place of one in the URL");
    let password = password.and_then(|file| read_file(reader, form.password_file, &file));
    let Some((text, origin)) = text else { return SecretString::default() };
    let fault = match (ServerUrl::parse(&text, form), password) {
        (Ok(url), Some(_)) if url.has_password() => {
            format!("holds a password, and {} is set too: keep one of them", form.password_file)
        }
        (Ok(url), password) => {
            let url = match password {
                Some(password) => url.with_password(&password),
                None => url,
            };
            reader.list(form.variable, url.to_string(), origin, form.server);
            return SecretString::from(String::from(url.url));
        }
        (Err(fault), _) => format!("{fault}; it looks like {}", form.example),
    };
    reader.fault(form.variable, fault);
    SecretString::default()
}

/// The URL as written, and its source.
fn read_text(reader: &mut Reader, form: &UrlForm) -> Option<(String, &'static str)> {
    let given = reader.text(form.variable);
    let file = reader.path(form.variable_file, "file that holds the whole URL, in place of the variable");
    match (given, file) {
        (Some(text), None) => Some((text, "set")),
        (None, Some(file)) => read_file(reader, form.variable_file, &file).map(|text| (text.trim().to_owned(), "file")),
        (Some(_), Some(_)) => {
            reader.fault(form.variable, format!("is set, and so is {}: set one of them", form.variable_file));
            None
        }
        (None, None) if reader.is_unreadable(form.variable) => None,
        (None, None) => {
            reader.fault(form.variable, format!("is not set; it looks like {}", form.example));
            None
        }
    }
}

fn read_file(reader: &mut Reader, variable: &'static str, file: &str) -> Option<String> {
    secret_file::read(Path::new(file)).map_err(|reason| reader.fault(variable, format!("{file}: {reason}"))).ok()
}

impl<'f> ServerUrl<'f> {
    fn parse(text: &str, form: &'f UrlForm) -> Result<Self, String> {
        let (server, parameters) = (form.server, || [form.shown, form.hidden].concat().join(", "));
        let unreadable = || format!("cannot be read as a {server} URL");
        let url = Url::parse(text).map_err(|_| unreadable())?;
        if !form.schemes.contains(&url.scheme()) {
            return Err(format!("is not a {server} URL"));
        }
        if url.fragment().is_some() || [Some(url.path()), url.query()].iter().flatten().any(|part| part.contains('@')) {
            let encoded = "`#` as %23, `/` as %2F, `?` as %3F, `@` as %40";
            return Err(format!("holds a `#`, or an `@` behind the host: in a password write {encoded}"));
        }
        let url = Self { url, form };
        if url.url.query_pairs().any(|(name, _)| url.known(&name).is_none()) {
            // The name is not quoted, because it may be a secret. The client would ignore the parameter or log it.
            return Err(match parameters() {
                none if none.is_empty() => "has a parameter behind the `?`: none is known".to_owned(),
                known => format!("has a parameter behind the `?` that is not known; known are {known}"),
            });
        }
        if (form.is_understood)(url.url.as_str()) { Ok(url) } else { Err(unreadable()) }
    }

    /// The matching name in the list, and whether its value may be shown.
    fn known(&self, name: &str) -> Option<(&'static str, bool)> {
        let is =
            |known: &&&str| **known == name || known.strip_suffix("[…]").is_some_and(|stem| is_indexed(name, stem));
        let find = |names: &'static [&'static str]| names.iter().find(is).copied();
        find(self.form.shown).map(|name| (name, true)).or_else(|| find(self.form.hidden).map(|name| (name, false)))
    }

    fn has_password(&self) -> bool {
        self.url.password().is_some() || self.url.query_pairs().any(|(name, _)| name == "password")
    }

    fn with_password(mut self, password: &str) -> Self {
        // `set_password` does not encode `%`, which the client decodes, so the password is encoded here first.
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if self.url.set_password(Some(&encoded)).is_err() {
            // A URL without a host (a Unix socket) has no place for a password.
            self.url.query_pairs_mut().append_pair("password", password);
        }
        self
    }
}

/// Whether `name` has the form `stem[…]`.
fn is_indexed(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|index| index.starts_with('[') && index.ends_with(']'))
}

impl fmt::Display for ServerUrl<'_> {
    /// The URL without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        write!(f, "{}://", url.scheme())?;
        match (url.username(), url.password()) {
            ("", None) => {}
            (user, None) => write!(f, "{user}@")?,
            (user, Some(_)) => write!(f, "{user}:{HIDDEN}@")?,
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        for (number, (name, value)) in url.query_pairs().enumerate() {
            let separator = if number == 0 { '?' } else { '&' };
            match self.known(&name) {
                Some((name, true)) => write!(f, "{separator}{name}={value}")?,
                Some((name, false)) => write!(f, "{separator}{name}={HIDDEN}")?,
                None => write!(f, "{separator}{HIDDEN}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
