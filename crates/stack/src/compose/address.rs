//! The addresses of Postgres and Redis for programs of the lab: with the container's IP address instead of the name
//! that only containers can resolve, and with the password from the file that the container uses.

use super::container::Container;
use crate::StackError;

/// The containers from which the address of a server is derived.
pub(super) struct Told<'c> {
    /// The server itself.
    pub container: Option<&'c Container>,
    /// Any one replica.
    pub replica: Option<&'c Container>,
}

impl Told<'_> {
    /// The URL that the replicas use. `kind` is the prefix of their variables.
    pub(super) fn as_the_replicas(&self, kind: &str) -> Result<Option<String>, StackError> {
        let Some((replica, host)) = self.replica.zip(self.host()) else { return Ok(None) };
        let Some((scheme, rest)) = replica.variable(&format!("{kind}_URL")).and_then(|url| url.split_once("://"))
        else {
            return Ok(None);
        };
        let (credentials, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let place = place.find([':', '/']).map_or("", |end| &place[end..]);
        let credentials = match replica.variable(&format!("{kind}_PASSWORD_FILE")).filter(|file| !file.is_empty()) {
            Some(file) => format!("{credentials}:{}", encoded(&replica.line_of(file)?)),
            None => credentials.to_owned(),
        };
        Ok(Some(format!("{scheme}://{credentials}@{host}{place}")))
    }

    pub(super) fn postgres_admin(&self) -> Result<Option<String>, StackError> {
        let Some((server, host)) = self.container.zip(self.host()) else { return Ok(None) };
        let told = |name| server.variable(name);
        let (Some(user), Some(database), Some(file)) =
            (told("POSTGRES_USER"), told("POSTGRES_DB"), told("POSTGRES_PASSWORD_FILE"))
        else {
            return Ok(None);
        };
        let password = encoded(&server.line_of(file)?);
        Ok(Some(format!("postgres://{user}:{password}@{host}:5432/{database}")))
    }

    pub(super) fn redis_admin(&self) -> Result<Option<String>, StackError> {
        let Some((server, host)) = self.container.zip(self.host()) else { return Ok(None) };
        let password = encoded(&server.line_of("/run/secrets/admin-password")?);
        Ok(Some(format!("redis://admin:{password}@{host}:6379/0")))
    }

    /// `None` while the server is stopped or isolated.
    fn host(&self) -> Option<&str> {
        self.container.and_then(Container::address)
    }
}

/// Encodes a text for use in a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
