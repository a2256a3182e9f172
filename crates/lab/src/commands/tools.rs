//! `lab psql`, `lab redis-cli`, `lab open`: standard tools, with the addresses and passwords of this stack. Passwords
//! are passed in the environment, which other users cannot read.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use stack::{Login, Stack, StackError};

use crate::{Console, Settings};

pub(super) fn psql(stack: &Stack, admin: bool, more: &[OsString], settings: &Settings) -> Result<(), StackError> {
    let login = if admin { Login::PostgresAdmin } else { Login::Postgres };
    let url = Address::parse(&stack.url(login)?)?;
    let mut command = Command::new(find("psql", settings)?);
    command.env("PGPASSWORD", &url.password).env("PGCONNECT_TIMEOUT", "5");
    command.args(["--host", &url.host, "--port", &url.port, "--username", &url.user, "--dbname", &url.path]);
    replace_by(command.args(more))
}

pub(super) fn redis_cli(stack: &Stack, more: &[OsString], settings: &Settings) -> Result<(), StackError> {
    let url = Address::parse(&stack.url(Login::RedisAdmin)?)?;
    let program = find("redis-cli", settings).or_else(|error| find("valkey-cli", settings).map_err(|_| error))?;
    let mut command = Command::new(program);
    command.env("REDISCLI_AUTH", &url.password).args(["-h", &url.host, "-p", &url.port]);
    if !url.user.is_empty() {
        command.args(["--user", &url.user]);
    }
    replace_by(command.args(more))
}

/// Prints the address in any case, because there may be no browser.
pub(super) fn open(
    stack: &Stack,
    name: Option<&str>,
    settings: &Settings,
    console: &Console,
) -> Result<(), StackError> {
    let mut status = stack.status()?;
    status
        .observability
        .extend(crate::console::find(stack.folder()).map(|console| ("console".to_owned(), console.link)));
    let address = match name {
        None => format!("{}/data", status.base_url),
        Some(name) => status.observability.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = status.observability.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "nothing; `lab up --observe` starts it".into() } else { known.join(", ") };
            StackError::Usage(format!("`{name}` does not watch this stack; what does: {known}"))
        })?,
    };
    console.print(&address);
    open_in_browser(&address, settings);
    Ok(())
}

/// Opens a browser if there is one. The address has already been printed.
pub(super) fn open_in_browser(address: &str, settings: &Settings) {
    if let Ok(browser) = find("xdg-open", settings) {
        let quiet = Command::new(browser).arg(address).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // This fails without a desktop.
        drop(quiet);
    }
}

/// The parts of `scheme://user:password@host:port/path`, in the form in which the stack writes them.
#[derive(Debug, PartialEq)]
struct Address {
    user: String,
    password: String,
    host: String,
    port: String,
    path: String,
}

impl Address {
    fn parse(url: &str) -> Result<Self, StackError> {
        let parts = || {
            let rest = url.split_once("://")?.1;
            let (credentials, rest) = rest.rsplit_once('@')?;
            let (user, password) = credentials.split_once(':')?;
            let (server, path) = rest.split_once('/')?;
            let (host, port) = server.rsplit_once(':')?;
            let path = path.split('?').next().unwrap_or_default();
            Some([user, password, host, port, path].map(str::to_owned))
        };
        // The error message would contain the password.
        let unreadable = || StackError::Conflict("the address of the server cannot be read".to_owned());
        let [user, password, host, port, path] = parts().ok_or_else(unreadable)?;
        Ok(Self { user: decoded(&user), password: decoded(&password), host, port, path })
    }
}

/// Decodes `%41` to `A`; an invalid code is kept as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, others)) = rest.split_first() {
        let code = others.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.filter(|_| *byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(code) => (bytes.push(code), rest = &others[2..]),
            None => (bytes.push(*byte), rest = others),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// In the search path, or in the folders where Debian installs each version of Postgres.
fn find(name: &str, settings: &Settings) -> Result<PathBuf, StackError> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&settings.host.search_path)
        .chain(versions.map(|version| version.path().join("bin")))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| StackError::MissingPrograms {
            missing: name.to_owned(),
            remedy: format!("Install the package that has `{name}`."),
        })
}

/// Replaces this process by the other program, which inherits the terminal and determines the exit code.
fn replace_by(command: &mut Command) -> Result<(), StackError> {
    let source = command.exec();
    Err(StackError::Io { what: format!("cannot run {}", command.get_program().display()), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse("redis://:secret@127.0.0.1:6379/0").unwrap();
        assert_eq!((address.user.as_str(), address.password.as_str()), ("", "secret"));
        let address = Address::parse("postgres://app:p:w@[::1]:5432/app?sslmode=disable").unwrap();
        assert_eq!((address.host.as_str(), address.path.as_str(), address.password.as_str()), ("[::1]", "app", "p:w"));
        assert_eq!(Address::parse("redis://a:%2Fx%y%4@h:1/0").unwrap().password, "/x%y%4");
        assert!(Address::parse("nonsense").is_err());
    }
}
