//! Why an operation on a socket failed.

use rustix::io::Errno;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    System(Errno),
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing fails by TLS where there is none"))]
    Tls(&'static str),
}
