//! `lab console`: the running stack in a browser, and switches that act on it. Every number comes from a real socket, every
//! switch acts on a real server.
//!
//! - What is seen: [`sampler`] asks every server once a second ([`metrics`], [`replica`], [`traffic`], [`processes`]); the
//!   result is a [`view`], kept in the [`history`] and rendered once for all viewers by [`page`] into a [`frame`], which
//!   [`stream`] sends.
//! - What is done: [`server`] lets a [`form`] through [`security`] and turns it into one of the [`actions`], which needs the
//!   [`hold`] of the stack; [`effects`] measures what it does, [`events`] keeps it, and the [`keeper`] undoes it when the
//!   console is gone.
//! - What teaches: the [`tour`] and the request [`lens`]; a [`run`] of the lab is watched through its journal, and its
//!   [`reports`] open from the page.

mod actions;
mod announcement;
mod effects;
mod events;
mod form;
mod frame;
mod history;
mod hold;
mod hub;
mod keeper;
mod lens;
mod load;
mod metrics;
mod page;
mod problem;
mod processes;
mod replica;
mod reports;
mod run;
mod sampler;
mod security;
mod server;
mod stream;
mod switches;
mod tour;
mod traffic;
mod view;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use stack::{Interrupt, Operation, Progress, StackError, UpOptions};
use time::OffsetDateTime;

pub(crate) use self::{announcement::find, keeper::run as keep};
use self::{
    announcement::{Announced, Announcement},
    hub::{HubOptions, Shared},
};
use crate::Console;

/// How a console is started.
#[derive(Debug)]
pub(crate) struct ConsoleOptions {
    /// The state folder, also of a stack that is yet to be started.
    pub(crate) folder: PathBuf,
    /// `None`: the first free one from 7070; 0: any.
    pub(crate) port: Option<u16>,
    pub(crate) is_read_only: bool,
    /// From one look at the stack, and one frame of the page, to the next.
    pub(crate) every: Duration,
    /// This program as the user calls it, with its state folder where that is not the usual one.
    pub(crate) program: String,
    /// This program's file.
    pub(crate) agent: PathBuf,
    /// How the page starts a stack where none runs; `None`: it cannot.
    pub(crate) up: Option<UpOptions>,
}

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Streams do not end by themselves.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// A console that runs. Its end undoes the faults that it gave.
#[derive(Debug)]
pub(crate) struct RunningConsole {
    hub: hub::Hub,
    runtime: tokio::runtime::Runtime,
    /// With the token.
    pub(crate) link: String,
    /// Ends the console's own threads: another interrupt than the program's, so that a caller decides about the order.
    interrupt: Interrupt,
}

/// Listens and begins to look at the stack.
///
/// # Errors
/// The port is taken; the stack has a console already.
pub(crate) fn start(options: ConsoleOptions) -> Result<RunningConsole, StackError> {
    let io = |what: &str, source| StackError::Io { what: what.to_owned(), source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("console")
        .enable_all()
        .build()
        .map_err(|source| io("cannot start the console", source))?;
    let listener = runtime.block_on(server::listen(options.port)).map_err(|source| match options.port {
        Some(port) => io(&format!("cannot listen on 127.0.0.1:{port}"), source),
        None => io("cannot listen on 127.0.0.1", source),
    })?;
    let address = listener.local_addr().map_err(|source| io("cannot tell the console's port", source))?;
    let token = security::token().map_err(|source| io("cannot read /dev/urandom", source))?;
    let link = format!("http://{address}/?token={token}");
    let announced = Announced { pid: std::process::id(), address: format!("http://{address}"), link: link.clone() };
    let announcement = Announcement::new(&options.folder, announced).map_err(|other| {
        StackError::Usage(format!("this stack has a console already (pid {}): {}", other.pid, other.link))
    })?;
    let interrupt = Interrupt::default();
    let hub = Shared::new(
        HubOptions {
            folder: options.folder,
            authority: address.to_string(),
            token,
            epoch: OffsetDateTime::now_utc().unix_timestamp(),
            is_read_only: options.is_read_only,
            every: options.every,
            program: options.program,
            agent: options.agent,
            up: options.up,
        },
        interrupt.clone(),
        runtime.handle().clone(),
    );
    sampler::start(&hub, announcement)?;
    let router = server::router(hub.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    Ok(RunningConsole { hub, runtime, link, interrupt })
}

impl RunningConsole {
    /// Stops the load, undoes the console's faults and lets go of the stack.
    ///
    /// # Errors
    /// What is left broken, for `lab heal`.
    pub(crate) fn end(self, console: &Console, operation: &Operation<'_>) -> Result<(), StackError> {
        self.hub.load.stop();
        // Actions that are under way end early; what they gave is undone by the session.
        self.interrupt.raise();
        let undone = self.hub.hold.end(operation);
        self.runtime.shutdown_timeout(SHUTDOWN);
        for healed in undone? {
            console.note(&format!("undone: {healed}"));
        }
        Ok(())
    }
}

/// `lab console`: serves until it is interrupted.
pub(crate) fn run(
    options: ConsoleOptions,
    open: impl FnOnce(&str),
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let is_read_only = options.is_read_only;
    let running = start(options)?;
    console.print(&running.link);
    let acts = if is_read_only { "It only shows." } else { "Anyone with this address can break the stack." };
    console.note(&format!("{acts} Ctrl-C ends the console and undoes the faults that it gave."));
    open(&running.link);
    while operation.interrupt.count() == 0 {
        operation.interrupt.sleep(LOOK_EVERY);
    }
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    running.end(console, &undo)?;
    Err(StackError::Interrupted)
}

/// How the user calls this program on a stack, for commands to copy.
pub(crate) fn program(program: &str, folder: &Path, usual: &Path) -> String {
    let program = loadgen::quote(program);
    if folder == usual {
        program
    } else {
        format!("{program} --state-dir {}", loadgen::quote(&folder.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_copy_is_what_a_shell_reads() {
        let usual = Path::new(".stack");
        assert_eq!(program("bin/lab", usual, usual), "bin/lab");
        let called = program("bin/lab", Path::new("/s/a b's $x"), usual);
        assert_eq!(called, r"bin/lab --state-dir '/s/a b'\''s $x'");
    }
}
