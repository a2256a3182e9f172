//! TLS on a non-blocking socket (feature `tls`): plain bytes on one side, records on the other.
//!
//! The handshake needs no state in the connection: bytes that are sent before its end are buffered in the session, and
//! reading drives it.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::failure::Failure;
use crate::error::LoadError;
use crate::target::Target;

/// Where distributions install trusted certificates: Debian, Fedora, Alpine.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// State that all sessions with one server share, for example for resumption.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    /// `None` for a plain-text server.
    pub(crate) fn for_target(target: &Target, ca_file: Option<&Path>) -> Result<Option<Self>, LoadError> {
        let Some(host) = target.tls_host() else { return Ok(None) };
        let tls = |reason: String| LoadError::setting("TLS", reason);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| tls(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        let pem = match ca_file {
            Some(path) => {
                std::fs::read(path).map_err(|source| LoadError::Io { verb: "read", path: path.to_owned(), source })?
            }
            None => SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok()).ok_or_else(|| {
                tls("finds no trusted certificates: install ca-certificates, or give --ca-file".into())
            })?,
        };
        // System certificates that cannot be parsed are ignored, as other clients do.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        if roots.is_empty() {
            return Err(tls("finds no certificate in the file it was given".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), name }))
    }

    pub(super) fn session(&self) -> Result<Session, Failure> {
        let connection = ClientConnection::new(self.config.clone(), self.name.clone()).map_err(failure)?;
        Ok(Session(Box::new(connection)))
    }
}

#[derive(Debug)]
pub(super) struct Session(Box<ClientConnection>);

impl Session {
    /// Accepts some of the bytes, and sends as many as possible.
    pub(super) fn send(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Failure> {
        let taken = self.0.writer().write(bytes).map_err(of_io)?;
        self.flush(socket)?;
        if taken == 0 { Err(Failure::System(Errno::AGAIN)) } else { Ok(taken) }
    }

    /// Sends buffered data, as far as the socket accepts it.
    pub(super) fn flush(&mut self, socket: &OwnedFd) -> Result<(), Failure> {
        while self.0.wants_write() {
            match self.0.write_tls(&mut Wire(socket)).map_err(of_io) {
                Ok(0) | Err(Failure::System(Errno::AGAIN)) => break,
                Ok(_) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Reads plain bytes; 0 at the end.
    pub(super) fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.0.reader().read(buffer) {
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Closed without a `close_notify`, as many servers do.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(of_io(error)),
            }
            let got = self.0.read_tls(&mut Wire(socket)).map_err(of_io)?;
            if let Err(error) = self.0.process_new_packets() {
                // The alert tells the peer the reason. An error in sending it is ignored.
                let _told = self.flush(socket);
                return Err(failure(error));
            }
            self.flush(socket)?;
            if got == 0 && self.0.is_handshaking() {
                return Ok(0);
            }
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }
}

/// The socket, as `Read` and `Write`.
struct Wire<'a>(&'a OwnedFd);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(self.0, &mut *buffer))?)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn of_io(error: io::Error) -> Failure {
    Errno::from_io_error(&error).map_or(Failure::Tls("the TLS session failed"), Failure::System)
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn failure(error: rustls::Error) -> Failure {
    Failure::Tls(match &error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => "the certificate's issuer is not trusted; give it as --ca-file",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            _ => "the certificate is not valid",
        },
        rustls::Error::AlertReceived(_) => "the server ended the TLS handshake",
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS",
        _ => "the TLS handshake failed",
    })
}
