//! A server that is started for a measurement and always stopped afterwards.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::error::LoadError;
use crate::signals::Signals;
use crate::target::Target;

/// Time limit until it accepts connections.
const START: Duration = Duration::from_secs(30);
/// Time limit to end after SIGTERM; then it is killed.
const STOP: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running program in its own process group. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Program {
    command: String,
    child: Child,
}

impl Program {
    /// Starts a shell command, and waits until the target accepts connections.
    ///
    /// # Errors
    /// Something listens there already, the program ends at once, it does not listen in time, or a signal comes first.
    pub(super) async fn start(command: &str, target: &Target, signals: &mut Signals) -> Result<Self, LoadError> {
        let fail = |reason: String| LoadError::setting("the command", format!("{command:?} {reason}"));
        if target.reach(LOOK_EVERY).is_ok() {
            return Err(fail(format!("is not started: something listens at {target} already")));
        }
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| LoadError::System { what: "start /bin/sh", source })?;
        let mut program = Self { command: command.to_owned(), child };
        let begin = Instant::now();
        while target.reach(LOOK_EVERY).is_err() {
            let ended = program.child.try_wait();
            if let Ok(Some(status)) = ended {
                return Err(fail(format!("ended before it listened at {target}: {status}")));
            }
            if begin.elapsed() > START {
                return Err(fail(format!("does not listen at {target} after {} s", START.as_secs())));
            }
            if tokio::time::timeout(LOOK_EVERY, signals.any()).await.is_ok() {
                return Err(LoadError::Interrupted { what: "the command was ready" });
            }
        }
        Ok(program)
    }

    /// Stops it, and waits until it has ended.
    ///
    /// # Errors
    /// It ended by itself, so another program was measured.
    pub(super) fn stop(mut self) -> Result<(), LoadError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let reason = format!("{:?} ended while it was measured: {status}", self.command);
                Err(LoadError::setting("the command", reason))
            }
            Err(source) => Err(LoadError::System { what: "look after the program", source }),
        }
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let Some(group) = self.group() else { return };
        // The group contains only the shell, the server and their children. An error means that it has ended already.
        let _ended = kill_process_group(group, Signal::TERM);
        let begin = Instant::now();
        let mut is_killed = false;
        loop {
            // The shell counts as a member of the group until it is waited for.
            let _collected = self.child.try_wait();
            if test_kill_process_group(group).is_err() {
                return;
            }
            if begin.elapsed() > STOP && !is_killed {
                is_killed = true;
                let _ended = kill_process_group(group, Signal::KILL);
            }
            if begin.elapsed() > STOP * 2 {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
