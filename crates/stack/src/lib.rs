//! One interface to the running stack: start, status, faults, healing, scaling, stop.
//!
//! It has two drivers. `process` starts the distribution's own Postgres, Redis and nginx and the API's replicas as
//! processes on loopback; `compose` drives `docker-compose.yml` through the Docker command line. Both keep their state
//! in one state folder, so that any later program (another `lab`, an experiment) can take over:
//!
//! ```no_run
//! # fn main() -> Result<(), stack::StackError> {
//! use stack::{FaultKind, Operation, Stack, Target};
//! let operation = Operation::default();
//! let stack = Stack::connect(".stack".as_ref())?;
//! let session = stack.reserve("an example", &operation)?;
//! let injected = session.inject(FaultKind::Pause, Target::Postgres, &operation)?;
//! println!("{injected}, seen at {}", injected.took_effect_at);
//! for healed in session.end(&operation)? {
//!     println!("{healed}, answered at {}", healed.answered_at);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every call blocks until its result can be observed (a killed server refuses, a healed one answers), and is bounded
//! in time. Do not call it from an asynchronous task. This crate knows the API only through HTTP, environment variables,
//! signals and its own commands.

#[cfg(not(target_os = "linux"))]
compile_error!("the process driver reads /proc, so this crate needs Linux; elsewhere use `docker compose` directly");

mod agent;
mod compose;
mod driver;
mod error;
mod fault;
mod folder;
mod guard;
mod http;
mod interrupt;
mod lock;
mod probe;
mod process;
mod progress;
mod project;
mod proxy;
mod record;
mod session;
mod sql;
mod stack;
mod status;
mod supervise;
mod target;
mod topology;

pub use agent::run_agent;
pub use driver::{DriverKind, HostEnvironment, Logs, UpOptions, Watched};
pub use error::StackError;
pub use fault::{ActiveFault, FaultKind, Healed, Injected, ServerFault};
pub use guard::FaultGuard;
pub use http::{Answer, exchange, get};
pub use interrupt::Interrupt;
pub use progress::{Operation, Progress, Silent};
pub use project::Project;
pub use session::{Holder, Session};
pub use sql::{Sql, SqlError};
pub use stack::{Stack, down};
pub use status::{
    Dependencies, DependencyStatus, Endpoints, Login, ReplicaEndpoint, ReplicaStatus, ServerStatus, State, Status,
};
pub use target::Target;
pub use topology::{Restart, Topology};
