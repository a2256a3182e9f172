//! Replaces TLS when the feature `tls` is off, with types that have no values.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::failure::Failure;
use crate::error::LoadError;
use crate::target::Target;

#[derive(Clone, Debug)]
pub(crate) enum Connector {}

impl Connector {
    pub(crate) fn for_target(target: &Target, _ca_file: Option<&Path>) -> Result<Option<Self>, LoadError> {
        match target.tls_host() {
            None => Ok(None),
            Some(_) => Err(LoadError::setting("TLS", "is not in this build: cargo build -p loadgen --features tls")),
        }
    }

    pub(super) fn session(&self) -> Result<Session, Failure> {
        match *self {}
    }
}

#[derive(Debug)]
pub(super) enum Session {}

impl Session {
    pub(super) fn send(&mut self, _socket: &OwnedFd, _bytes: &[u8]) -> Result<usize, Failure> {
        match *self {}
    }

    pub(super) fn flush(&mut self, _socket: &OwnedFd) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn read(&mut self, _socket: &OwnedFd, _buffer: &mut [u8]) -> Result<usize, Failure> {
        match *self {}
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match *self {}
    }
}
