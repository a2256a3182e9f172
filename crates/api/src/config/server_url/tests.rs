use proptest::prelude::*;
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

use super::*;
use crate::config::{database, redis};

/// Must not appear in any error or listing.
const MARK: &str = "S3cReT";

fn listed(form: &UrlForm, text: &str) -> String {
    match ServerUrl::parse(text, form) {
        Ok(url) => url.to_string(),
        Err(fault) => fault,
    }
}

/// The result, or all errors as one text.
fn read_from(form: &UrlForm, variables: &[(&str, &str)]) -> Result<String, String> {
    let mut reader = Reader::from_variables(variables.iter().copied());
    let secret = read(&mut reader, form);
    reader.finish().map(|_| secret.expose_secret().to_owned()).map_err(|faults| faults.to_string())
}

fn file(content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, content).expect("written");
    let path = path.to_str().expect("ASCII").to_owned();
    (folder, path)
}

/// The password as the Postgres client decodes it. sqlx has no getter, but it can write the password back into a URL.
fn password_of(url: &str) -> Option<String> {
    let options: PgConnectOptions = url.parse().expect("understood");
    let url = sqlx::ConnectOptions::to_url_lossy(&options);
    let encoded = url.password()?.replace('+', "%2B");
    url::form_urlencoded::parse(format!("p={encoded}").as_bytes()).next().map(|(_, value)| value.into_owned())
}

#[test]
fn a_password_is_hidden_and_the_rest_stays_readable() {
    for (text, shown) in [
        ("postgres://app:pw@h:5/db", "postgres://app:[hidden]@h:5/db"),
        ("postgres://app:p@w@h/db", "postgres://app:[hidden]@h/db"),
        ("postgres://app:@h/db", "postgres://app@h/db"),
        ("postgres://app@h/db?password=pw&sslmode=disable", "postgres://app@h/db?password=[hidden]&sslmode=disable"),
        ("postgres://app@h/db?pass%77ord=pw", "postgres://app@h/db?password=[hidden]"),
        ("postgres:///db?host=/run/pg&password=pw", "postgres:///db?host=/run/pg&password=[hidden]"),
        (
            "postgres://h/db?options[x.token]=pw&options=-cx.y=pw",
            "postgres://h/db?options[…]=[hidden]&options=[hidden]",
        ),
        ("postgres://app:pw@[::1]:5/db", "postgres://app:[hidden]@[::1]:5/db"),
    ] {
        assert_eq!(listed(&database::URL, text), shown);
    }
    assert_eq!(listed(&redis::URL, "redis://:p@w@h/0"), "redis://:[hidden]@h/0");
    assert_eq!(
        listed(&redis::URL, "redis://api:pw@h:6379/0?protocol=resp3"),
        "redis://api:[hidden]@h:6379/0?protocol=resp3"
    );
    assert_eq!(listed(&redis::URL, "redis://h:6379/0"), "redis://h:6379/0");
}

#[test]
fn a_url_that_could_mean_another_host_is_refused_without_a_word_of_it() {
    for text in [
        "S3cReT",
        "postgres://app:S3cReT/x@h/db",
        "postgres://app:5/S3cReT@h/db",
        "postgres://app:5?S3cReT@h/db",
        "postgres://app:5#S3cReT@h/db",
        "postgres://h/db?S3cReT",
        "postgres://h/db?passwrd=S3cReT",
        "postgres://h/db?PASSWORD=S3cReT",
        "postgres://h/db#S3cReT",
        "postgres://h:S3cReT/db",
        "mysql://app:S3cReT@h/db",
        "redis://h:6379/S3cReT",
    ] {
        for form in [&database::URL, &redis::URL] {
            let fault = ServerUrl::parse(text, form).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(!fault.contains(MARK), "{fault}");
        }
    }
}

#[test]
fn url_and_password_come_from_files() {
    let (_one, password) = file("pw\n");
    let (_two, url) = file("postgres://app:pw@h/db\n");
    let plain = ("DATABASE_URL", "postgres://app@h/db");
    let with_file = read_from(&database::URL, &[plain, ("DATABASE_PASSWORD_FILE", &password)]).expect("right");
    assert_eq!(password_of(&with_file).as_deref(), Some("pw"));
    assert_eq!(read_from(&database::URL, &[("DATABASE_URL_FILE", &url)]).as_deref(), Ok("postgres://app:pw@h/db"));
    let socket = [("DATABASE_URL", "postgres:///db?host=/run/pg"), ("DATABASE_PASSWORD_FILE", &password)];
    assert_eq!(read_from(&database::URL, &socket).as_deref(), Ok("postgres:///db?host=/run/pg&password=pw"));
    assert_eq!(
        read_from(&database::URL, &[plain, ("DATABASE_PASSWORD_FILE", "")]).as_deref(),
        Ok("postgres://app@h/db")
    );
}

#[test]
fn a_secret_given_twice_or_in_no_readable_file_is_a_fault_that_names_variable_file_and_reason() {
    let (_one, password) = file("pw");
    let (_two, url) = file("redis://:pw@h/0");
    for (variables, words) in [
        (vec![("REDIS_URL", "redis://h/0"), ("REDIS_URL_FILE", &url)], vec!["REDIS_URL:", "REDIS_URL_FILE", "one of"]),
        (
            vec![("REDIS_URL", "redis://:x@h/0"), ("REDIS_PASSWORD_FILE", &password)],
            vec!["REDIS_URL:", "REDIS_PASSWORD_FILE"],
        ),
        (vec![("REDIS_URL_FILE", &url), ("REDIS_PASSWORD_FILE", &password)], vec!["REDIS_URL:", "REDIS_PASSWORD_FILE"]),
        (vec![("REDIS_URL_FILE", "/no/url")], vec!["REDIS_URL_FILE: /no/url:", "No such file"]),
        (
            vec![("REDIS_URL", "http://h/0"), ("REDIS_PASSWORD_FILE", "/no/pw")],
            vec!["REDIS_PASSWORD_FILE: /no/pw:", "No such file", "REDIS_URL: is not a Redis URL"],
        ),
        (
            vec![("REDIS_PASSWORD_FILE", "/no/pw")],
            vec!["REDIS_PASSWORD_FILE: /no/pw:", "No such file", "REDIS_URL: is not set"],
        ),
        (vec![("REDIS_PASSWORD_FILE", &password)], vec!["REDIS_URL: is not set", "redis://"]),
    ] {
        let fault = read_from(&redis::URL, &variables).expect_err("wrong");
        assert!(words.iter().all(|word| fault.contains(word)), "{words:?} in {fault}");
    }
}

/// Passwords as people and generators choose them, with a marker that reveals a leak of any part.
fn odd_password() -> impl Strategy<Value = String> {
    ("\\PC{0,12}", "\\PC{0,12}").prop_map(|(before, after)| format!("{before}{MARK}{after}"))
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

proptest! {
    #[test]
    fn no_password_is_shown_wherever_and_however_it_stands(
        password in odd_password(), is_encoded in any::<bool>(), place in 0..6, more in "[a-z:/?#@&=%\\[\\]]{0,6}",
    ) {
        // Percent-encoding does not change the marker, so a leak is detected in both forms.
        let written = if is_encoded { password.split(MARK).map(encode).collect::<Vec<_>>().join(MARK) } else { password };
        let text = match place {
            0 => format!("postgres://app:{written}@h:5432/db{more}"),
            1 => format!("postgres://:{written}@h/db{more}"),
            2 => format!("postgres://app@h/db?sslmode=disable&password={written}{more}"),
            3 => format!("postgres://app@h/db?%70assword={written}{more}"),
            4 => format!("redis://:{written}@h:6379/0{more}"),
            _ => format!("redis://app:{written}@h{more}/0"),
        };
        for form in [&database::URL, &redis::URL] {
            let shown = listed(form, &text);
            prop_assert!(!shown.contains(MARK), "{} shows {}", text, shown);
        }
    }

    #[test]
    fn a_password_from_a_file_reaches_the_client_as_it_is(password in "[^\\r\\n\\x00]{1,40}") {
        let url = ServerUrl::parse("postgres://app@h/db", &database::URL).expect("right").with_password(&password);
        prop_assert_eq!(password_of(url.url.as_str()), Some(password));
    }
}
