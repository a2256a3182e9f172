//! Output for the user: results on standard output, progress on standard error. On a terminal, the line of a step is
//! updated until the step ends; a pipe gets one plain line per finished step.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use stack::{Progress, StackError};

#[derive(Debug)]
pub struct Console {
    is_terminal: bool,
    step: Mutex<Option<(String, Instant)>>,
    /// Why a result could not be printed.
    lost: Mutex<Option<io::Error>>,
}

impl Console {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it looks at the real standard error, which is no default")]
    pub fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), step: Mutex::new(None), lost: Mutex::new(None) }
    }

    /// Prints a result. A closed pipe is not an error.
    pub(crate) fn print(&self, text: &str) {
        self.finish_line();
        let printed = writeln!(io::stdout().lock(), "{text}");
        if let Err(error) = printed
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// # Errors
    /// A result could not be printed, for example as the disk is full.
    pub fn check_printed(&self) -> Result<(), StackError> {
        match self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) => Err(StackError::Io { what: "cannot write standard output".to_owned(), source }),
            None => Ok(()),
        }
    }

    /// Replaces the previous progress line; prints nothing to a pipe.
    pub(crate) fn live(&self, line: &str) {
        if self.is_terminal {
            let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col.max(20)));
            let line: String = line.chars().take(width.saturating_sub(3)).collect();
            self.write(&format!("\r\x1b[K  {line}"));
        }
    }

    /// Removes that line.
    pub(crate) fn end_live(&self) {
        if self.is_terminal {
            self.write("\r\x1b[K");
        }
    }

    pub fn fail(&self, error: &StackError) {
        self.finish_line();
        self.write(&format!("lab: {error}\n"));
    }

    /// Ends a step that was not completed.
    fn finish_line(&self) {
        if self.take_step().is_some() && self.is_terminal {
            self.write("\n");
        }
    }

    fn take_step(&self) -> Option<(String, Instant)> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn write(&self, text: &str) {
        let mut output = io::stderr().lock();
        let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }
}

impl Progress for Console {
    fn begin(&self, step: &str) {
        self.finish_line();
        if self.is_terminal {
            self.write(&format!("  {step} …"));
        }
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some((step.to_owned(), Instant::now()));
    }

    fn end(&self, outcome: &str) {
        let Some((step, start)) = self.take_step() else { return };
        let seconds = start.elapsed().as_secs_f64();
        if self.is_terminal {
            self.write(&format!("\r\x1b[K  {step}: {outcome} ({seconds:.1} s)\n"));
        } else {
            self.write(&format!("{step}: {outcome} ({seconds:.1} s)\n"));
        }
    }

    fn note(&self, text: &str) {
        self.finish_line();
        self.write(&format!("{}{text}\n", if self.is_terminal { "  " } else { "" }));
    }
}
