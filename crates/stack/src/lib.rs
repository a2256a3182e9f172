//! One interface over the running stack: start it, ask how it is, break it, heal it, change its size, stop it.
//!
//! Two drivers stand behind it. `process` starts the distribution's own Postgres, Redis and nginx and the API's replicas
//! as processes on loopback; `compose` drives `docker-compose.yml` through the Docker command line. Both keep what they
//! know in one state folder, so that any later program (another `lab`, an experiment) can take over:
//!
//! ```no_run
//! # fn main() -> Result<(), stack::StackError> {
//! use stack::{FaultKind, Operation, Stack, Target};
//! let operation = Operation::default();
//! let stack = Stack::connect(".stack".as_ref())?;
//! stack.inject(FaultKind::Pause, Target::Postgres, &operation)?;
//! println!("{:?}", stack.status()?);
//! stack.heal(None, &operation)?;
//! # Ok(())
//! # }
//! ```
//!
//! Every call blocks until what it says is true (a killed server is gone, a healed one answers), and is bounded in time.
//! The API is known here only by HTTP, environment variables and signals.

#[cfg(not(target_os = "linux"))]
compile_error!("the process driver reads /proc, so this crate needs Linux; elsewhere use `docker compose` directly");

mod compose;
mod driver;
mod error;
mod folder;
mod http;
mod interrupt;
mod lock;
mod process;
mod progress;
mod project;
mod record;
mod status;
mod target;

pub use driver::{DriverKind, HostEnvironment, Stack, UpOptions, Watched, down};
pub use error::StackError;
pub use http::{Answer, get};
pub use interrupt::Interrupt;
pub use progress::{Operation, Progress, Silent};
pub use project::Project;
pub use status::{
    Dependencies, DependencyStatus, Endpoints, ReplicaEndpoint, ReplicaStatus, ServerStatus, State, Status,
};
pub use target::{FaultKind, Target};
