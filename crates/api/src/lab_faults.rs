//! Faults inside this process, for the lab: a memory leak and a crash. Off unless `LAB_FAULTS=on`.
//!
//! The listener is a Unix socket in the abstract namespace, named after the process id. It needs no port and no file,
//! it cannot be reached from another machine, and only root and the user of this process may send a command. `api
//! fault` is its client. Each connection carries a command of one line and an answer of one line.

use std::{
    io::{self, Read, Write},
    os::{linux::net::SocketAddrExt, unix::net},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

mod leak;

pub use self::leak::Leak;

/// Time limit for reading the command and for writing the answer. Both are local and short.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The longest command is two numbers.
const LONGEST_LINE: u64 = 64;

/// A fault inside this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabFault {
    /// Allocates memory and keeps it.
    Leak {
        /// Bytes per second.
        rate: u64,
        /// Stops growing after this many bytes.
        most: u64,
    },
    /// Frees what was leaked.
    Heal,
    /// Ends the process by `abort`, without an answer.
    Crash,
}

impl LabFault {
    fn parse(line: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number of bytes"));
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["leak", rate, most] => Ok(Self::Leak { rate: number(rate)?, most: number(most)? }),
            ["heal"] => Ok(Self::Heal),
            ["crash"] => Ok(Self::Crash),
            _ => Err("commands are `leak BYTES_PER_SECOND BYTES`, `heal` and `crash`".to_owned()),
        }
    }

    fn line(self) -> String {
        match self {
            Self::Leak { rate, most } => format!("leak {rate} {most}\n"),
            Self::Heal => "heal\n".to_owned(),
            Self::Crash => "crash\n".to_owned(),
        }
    }
}

/// The socket on which this process accepts commands.
///
/// # Errors
/// The name is in use, or the system refuses a socket.
pub fn listen() -> io::Result<UnixListener> {
    let listener = net::UnixListener::bind_addr(&address(std::process::id())?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Accepts commands until `stop` is cancelled.
pub async fn serve(listener: UnixListener, leak: Leak, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // One command at a time. A client that disconnects or sends nothing gets no answer, and the next one is
                // served.
                let _ = tokio::time::timeout(ANSWERS_WITHIN, answer(stream, &leak)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, leak: &Leak) -> io::Result<()> {
    if !may_command(&stream) {
        return stream.write_all(b"error only root and the user of this process may do that\n").await;
    }
    let mut line = String::new();
    tokio::io::AsyncReadExt::take(BufReader::new(&mut stream), LONGEST_LINE).read_line(&mut line).await?;
    let answer = match LabFault::parse(&line) {
        Ok(LabFault::Crash) => crash(),
        Ok(LabFault::Leak { rate, most }) => leak.start(rate, most).map(|()| format!("leaks {rate} bytes per second")),
        Ok(LabFault::Heal) => Ok(format!("freed {} bytes", leak.stop())),
        Err(problem) => Err(problem),
    };
    tracing::warn!(command = line.trim_end(), "a fault of the lab");
    let text = answer.map_or_else(|problem| format!("error {problem}\n"), |done| format!("ok {done}\n"));
    stream.write_all(text.as_bytes()).await
}

/// Without this check, another user could crash the process.
fn may_command(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// Ends the process as a defect in native code would: no answer, no shutdown, no log line with the reason.
fn crash() -> ! {
    // Prevents a core file in the working directory.
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
    );
    std::process::abort()
}

/// Sends a command to the process `pid` and returns its answer. Empty after a crash.
///
/// # Errors
/// The process does not run or was not started with `LAB_FAULTS=on`, or it refuses the command.
pub fn send(pid: u32, fault: LabFault) -> Result<String, String> {
    let closed = |error: io::Error| format!("process {pid} does not accept faults ({error}); is its LAB_FAULTS on?");
    let ask = || -> io::Result<String> {
        let mut stream = net::UnixStream::connect_addr(&address(pid)?)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.set_write_timeout(Some(ANSWERS_WITHIN))?;
        stream.write_all(fault.line().as_bytes())?;
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Err(error) if fault == LabFault::Crash && error.kind() == io::ErrorKind::ConnectionReset => {}
            other => drop(other?),
        }
        Ok(answer)
    };
    let answer = ask().map_err(closed)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", done)) => Ok(done.to_owned()),
        Some(("error", problem)) => Err(problem.to_owned()),
        _ if fault == LabFault::Crash && answer.is_empty() => Ok(String::new()),
        _ => Err(format!("process {pid} answers `{}`", answer.trim_end())),
    }
}

fn address(pid: u32) -> io::Result<net::SocketAddr> {
    net::SocketAddr::from_abstract_name(format!("phase-observation-api.{pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_it_was_written() {
        for fault in [LabFault::Leak { rate: 1, most: u64::MAX }, LabFault::Heal, LabFault::Crash] {
            assert_eq!(LabFault::parse(&fault.line()), Ok(fault));
        }
    }

    #[test]
    fn other_commands_are_refused() {
        for line in ["", "leak", "leak 1", "leak 1 2 3", "leak -1 2", "leak 1e3 2", "CRASH", "crash now"] {
            assert!(LabFault::parse(line).is_err(), "{line:?}");
        }
    }
}
