//! The engine's event stream for the project's containers, used instead of polling.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use crate::{Interrupt, StackError};

/// The longest time until an interrupt is noticed.
const SLICE: Duration = Duration::from_millis(50);
/// The interval between checks when no event arrives: the stream may have ended, and changes of a container's address
/// are not events.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);

/// A stream of events; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Events {
    /// `None`: no stream could be opened; only the checks at intervals remain.
    child: Option<Child>,
    told: Receiver<()>,
}

impl Events {
    /// Follows the events from now on.
    pub(super) fn follow(project: &str) -> Self {
        // One unread event is enough: further ones carry no more information.
        let (tell, told) = sync_channel(1);
        let filter = format!("label=com.docker.compose.project={project}");
        let mut command = Command::new("docker");
        command.args(["events", "--filter", "type=container", "--filter", &filter, "--format", "{{.Action}}"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().ok();
        if let Some(output) = child.as_mut().and_then(|child| child.stdout.take()) {
            std::thread::spawn(move || {
                // Health checks are executions in a container; their result is an event of its own, when it changes.
                let actions = BufReader::new(output).lines().map_while(Result::ok);
                for _ in actions.filter(|action| !action.starts_with("exec_")) {
                    let _ = tell.try_send(());
                }
            });
        }
        Self { child, told }
    }

    /// Whether an event arrived since the last call.
    pub(super) fn any(&self) -> bool {
        self.told.try_recv().is_ok()
    }

    /// Calls `look` now and after each event until it returns something; `None` when `limit` has passed.
    pub(super) fn wait_for<T>(
        &self,
        limit: Duration,
        interrupt: &Interrupt,
        mut look: impl FnMut() -> Result<Option<T>, StackError>,
    ) -> Result<Option<T>, StackError> {
        let end = Instant::now() + limit;
        loop {
            interrupt.check()?;
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let look_again = Instant::now() + LONGEST_SILENCE;
            loop {
                let now = Instant::now();
                if now >= end {
                    return Ok(None);
                }
                interrupt.check()?;
                match self.told.recv_timeout(SLICE) {
                    Ok(()) => break,
                    Err(_) if now >= look_again => break,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => interrupt.sleep(SLICE),
                }
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
