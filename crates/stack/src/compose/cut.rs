//! Isolates a container: a packet filter inside its network namespace drops all packets except those on loopback, as
//! the process driver does for a port. (`docker network disconnect` removes the container's name and address: clients
//! are refused at once instead of being left without an answer.)

use super::{
    container::Container,
    container_network::{self, inside, run},
};
use crate::{StackError, State};

/// What this is called in messages.
const WHAT: &str = "cutting a container off";

const TABLE: &str = "phase_observation_cut";

const RULES: &str = "table inet phase_observation_cut {\n chain in {\n type filter hook input priority -10;\n \
                     iifname != lo drop;\n }\n chain out {\n type filter hook output priority -10;\n \
                     oifname != lo drop;\n }\n }\n";

/// Whether a cut is possible here.
pub(super) fn check() -> Result<(), StackError> {
    container_network::check(WHAT)
}

pub(super) fn close(container: &Container) -> Result<(), StackError> {
    check()?;
    run(inside(container, WHAT)?.arg(RULES), WHAT).map(drop)
}

/// True if the container was isolated. `known`: a cut is known to exist, so a failed check is an error.
pub(super) fn open(container: &Container, known: bool) -> Result<bool, StackError> {
    if container.state() == State::Stopped {
        // Its network namespace ended with it.
        return Ok(false);
    }
    match check().and_then(|()| inside(container, WHAT)) {
        Err(error) if known => Err(error),
        Err(_) => Ok(false),
        Ok(mut list) => {
            let is_there = run(list.args(["list", "table", "inet", TABLE]), WHAT).is_ok();
            if is_there {
                run(inside(container, WHAT)?.args(["delete", "table", "inet", TABLE]), WHAT)?;
            }
            Ok(is_there)
        }
    }
}
