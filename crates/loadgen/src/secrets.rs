//! Data that must not be stored: bodies, and the values of headers and query parameters whose names indicate a secret.

/// A name that contains one of these indicates a secret. Lower case, without separators.
const WORDS: [&str; 15] = [
    "auth",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "cookie",
    "session",
    "credential",
    "signature",
    "apikey",
    "accesskey",
    "privatekey",
    "bearer",
];
/// Short words that indicate a secret only as a whole word between separators; `key` only as the whole name.
const PARTS: [&str; 6] = ["sig", "sid", "jwt", "pw", "pass", "pin"];
/// Replaces a masked value.
const MASK: &str = "…";

/// Whether a header or parameter with this name is secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let plain: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut parts = lower.split(|c: char| !c.is_ascii_alphanumeric());
    plain == "key" || WORDS.iter().any(|word| plain.contains(word)) || parts.any(|part| PARTS.contains(&part))
}

/// A URL or path with the values of secret query parameters masked.
pub(crate) fn mask_url(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret(name) => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    });
    format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// A header, `Name: value`, with its value masked when it is secret.
pub(crate) fn mask_header(header: &str) -> String {
    match header.split_once(':') {
        Some((name, _)) if is_secret(name.trim()) => format!("{name}: {MASK}"),
        _ => header.to_owned(),
    }
}

type Mask = fn(&str) -> String;

/// Options whose value is not stored, and how it is masked.
const OPTIONS: [(&str, Mask); 4] =
    [("--body", |_| MASK.to_owned()), ("--header", mask_header), ("-H", mask_header), ("--target", mask_url)];

/// The arguments of a command with all secrets masked.
pub(crate) fn mask_arguments(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut masked = Vec::new();
    let mut pending: Option<Mask> = None;
    for argument in arguments {
        if let Some(mask) = pending.take() {
            masked.push(mask(&argument));
            continue;
        }
        pending = OPTIONS.iter().find(|(option, _)| *option == argument).map(|(_, mask)| *mask);
        masked.push(if pending.is_some() { argument } else { mask_one(&argument) });
    }
    masked
}

/// A single argument: `--body=…`, `-HName: value`, a URL, or anything else.
fn mask_one(argument: &str) -> String {
    for (option, mask) in OPTIONS {
        let attached = match argument.strip_prefix(option) {
            Some(rest) if option.starts_with("--") => rest.strip_prefix('=').map(|value| (format!("{option}="), value)),
            Some(rest) => Some((option.to_owned(), rest)),
            None => None,
        };
        if let Some((option, value)) = attached {
            return option + &mask(value);
        }
    }
    mask_url(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_secret() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "X-Api-Key",
            "api_key",
            "apiKey",
            "X-Auth-Token",
            "access_token",
            "PHPSESSIONID",
            "client_secret",
            "password",
            "X-Amz-Signature",
            "key",
            "sig",
            "jwt",
            "X-CSRF-Token",
            "db-pwd",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "Content-Type",
            "Idempotency-Key",
            "Accept",
            "limit",
            "after",
            "keyword",
            "X-Request-Id",
            "design",
            "monkey",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn no_form_of_an_argument_keeps_a_secret() {
        let typed = [
            "load",
            "run",
            "http://h/a?limit=5&token=xyzzy&x",
            "-H",
            "Authorization: Bearer xyzzy",
            "--header=x-api-key: xyzzy",
            "-Hcookie: id=xyzzy",
            "--body",
            "xyzzy",
            "--body=xyzzy",
            "-H",
            "X-Plain: it's",
            "--body-file",
            "a.json",
        ];
        let kept = mask_arguments(typed.into_iter().map(str::to_owned)).join(" ");
        assert!(!kept.contains("xyzzy"), "{kept}");
        for part in
            ["limit=5&token=…&x", "Authorization: …", "--header=x-api-key: …", "X-Plain: it's", "--body-file a.json"]
        {
            assert!(kept.contains(part), "{part:?} in {kept}");
        }
        assert_eq!(mask_url("/plain"), "/plain");
        assert_eq!(mask_url("/a?token="), "/a?token=");
    }
}
