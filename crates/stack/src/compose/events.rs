//! What the engine tells of the project's containers by itself, so that nobody has to ask again and again.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use crate::{Interrupt, StackError};

/// How long an interrupt may go unnoticed.
const SLICE: Duration = Duration::from_millis(50);
/// Between two looks where the engine tells nothing: its stream may have ended, and a container's address is not told.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);

/// A stream of events, until it is dropped.
#[derive(Debug)]
pub(super) struct Events {
    /// `None`: there is no engine to listen to; then looking is all that is left.
    child: Option<Child>,
    told: Receiver<()>,
}

impl Events {
    /// From now on.
    pub(super) fn follow(project: &str) -> Self {
        // One that is not fetched yet says all that the next ones would.
        let (tell, told) = sync_channel(1);
        let filter = format!("label=com.docker.compose.project={project}");
        let mut command = Command::new("docker");
        command.args(["events", "--filter", "type=container", "--filter", &filter, "--format", "{{.Action}}"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().ok();
        if let Some(output) = child.as_mut().and_then(|child| child.stdout.take()) {
            std::thread::spawn(move || {
                for _ in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = tell.try_send(());
                }
            });
        }
        Self { child, told }
    }

    /// Whether anything has happened since the last call.
    pub(super) fn any(&self) -> bool {
        self.told.try_recv().is_ok()
    }

    /// Looks now and after each event until `look` finds something; `None` when `limit` has passed.
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
