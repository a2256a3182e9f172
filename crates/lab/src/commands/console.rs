//! `lab console`, and the console of `lab up --console`.

use std::{path::Path, time::Duration};

use stack::{Operation, Stack, StackError, UpOptions};

use super::{tools, up};
use crate::{
    Console, Settings,
    cli::ConsoleArguments,
    console::{self as page, ConsoleOptions, RunningConsole},
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn run(
    arguments: &ConsoleArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    // Outside of a checkout this is an error; the page can then show a stack but not start one.
    let up = up::options(&up::defaults(), folder, settings).ok();
    let options = ConsoleOptions {
        port: arguments.port,
        is_read_only: arguments.read_only,
        every: arguments.every,
        ..options(folder, settings, up)
    };
    let open = |link: &str| {
        if settings.has_desktop && !arguments.no_open {
            tools::open_in_browser(link, settings);
        }
    };
    page::run(options, open, console, operation)
}

/// For a stack that this program has just started.
pub(super) fn beside(stack: &Stack, settings: &Settings, console: &Console) -> Result<RunningConsole, StackError> {
    let running = page::start(options(stack.folder(), settings, None))?;
    console.print(&format!("\nconsole: {}", running.link));
    if settings.has_desktop {
        tools::open_in_browser(&running.link, settings);
    }
    Ok(running)
}

fn options(folder: &Path, settings: &Settings, up: Option<UpOptions>) -> ConsoleOptions {
    ConsoleOptions {
        folder: folder.to_owned(),
        port: None,
        is_read_only: false,
        every: SECOND,
        program: page::program(&settings.program, folder, &settings.state_dir),
        agent: settings.host.agent.clone(),
        up,
    }
}
