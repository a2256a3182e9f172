//! The command line.

mod fault;
mod run;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use stack::DriverKind;

use crate::history::Aim;

pub(crate) use self::{
    fault::FaultArguments,
    run::{HowArguments, LessonArguments, RunArguments, seconds},
};

/// Runs the stack (three API replicas behind nginx, with Postgres and Redis) and breaks it on purpose.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    after_help = "Examples:\n  \
        lab up --detach                 start everything, print where it is, return\n  \
        lab fault pause postgres        let Postgres hang; see what `curl` says now\n  \
        lab fault kill api-2 --for 10s  a replica crashes and is back after 10 seconds\n  \
        lab heal                        undo every fault, start again what is not running\n  \
        lab down                        stop everything; the database's records stay\n\n\
        Exit codes: 0 done, 1 failed, 2 not possible as asked, 130 interrupted."
)]
pub struct Cli {
    /// Folder for everything the stack writes [default: .stack in the project; or LAB_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the stack and wait until it answers
    Up(UpArguments),
    /// Stop everything that was started, also what a crashed lab left
    Down {
        /// Also remove the database's records and everything else in the state folder
        #[arg(long, visible_alias = "volumes")]
        purge: bool,
    },
    /// Show what runs where
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Break a server, or what is inside of it or on the way to it
    Fault(FaultArguments),
    /// Undo faults: resume, reconnect and start again until all answer
    Heal {
        /// Only this server [default: all]
        target: Option<String>,
    },
    /// List the experiments
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Run experiments on the real stack: break, measure, undo, judge, report
    Run(RunArguments),
    /// List the lessons, or go through one: its experiments in order, its target judged, a certificate
    Lesson(LessonArguments),
    /// Judge journals again and write their reports: report.html, report.md, junit.xml beside each, index.html in a folder
    #[command(after_help = "Examples:\n  \
        lab report reports                             every journal in the folder and below, and an index\n  \
        lab report reports/cache/*/journal.ndjson      only these, without an index\n\n\
        Exit codes: 0 all held, 1 one deviated, 2 one cannot be read or judged, 130 one was interrupted. Only files that the\n\
        lab wrote are replaced.")]
    Report {
        /// Folders with journals, or journals
        #[arg(required = true, value_name = "DIR|JOURNAL")]
        paths: Vec<PathBuf>,
    },
    /// Write a commented experiment to begin with
    Init {
        /// Its name, and that of the file
        #[arg(default_value = "my-experiment")]
        name: String,
    },
    /// Record a history of reads and writes under faults on a stack of its own, and judge the promises by it
    History(HistoryArguments),
    /// Change the number of replicas while the stack runs
    Scale {
        /// How many API replicas there shall be
        replicas: u32,
    },
    /// Give the running stack another shape: replicas, phase, switches, CPU time
    Configure(ConfigureArguments),
    /// Restart the replicas, one after the other
    Restart {
        /// Stop them all, then start them all
        #[arg(long)]
        all_at_once: bool,
    },
    /// Open the database: `lab psql`, `lab psql -- -c 'TABLE records'`
    Psql {
        /// As the superuser instead of the replicas' user
        #[arg(long)]
        admin: bool,
        /// For psql itself
        #[arg(last = true)]
        more: Vec<OsString>,
    },
    /// Open the cache: `lab redis-cli`, `lab redis-cli -- GET record:v1:1`
    RedisCli {
        /// For redis-cli itself
        #[arg(last = true)]
        more: Vec<OsString>,
    },
    /// Watch the stack in a browser, and break it there
    Console(ConsoleArguments),
    /// Show what the servers have said
    Logs {
        /// Go on with what they say from now on
        #[arg(long, short)]
        follow: bool,
        /// Only this server [default: all]
        name: Option<String>,
    },
    /// Open the stack's address in a browser, or print it
    Open {
        /// Instead: who watches it (prometheus)
        name: Option<String>,
    },
    /// What `lab console` starts to undo its faults if it crashes
    #[command(hide = true)]
    Keeper { why: String },
    /// What the console starts to judge the journal of a run that it watches: prints the verdict as JSON
    #[command(hide = true)]
    Judge { journal: PathBuf },
    /// What `lab fault` starts for faults that outlast it
    #[command(hide = true)]
    Agent,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab up                               stay in the foreground, stop everything on Ctrl-C\n  \
    lab up --detach --phase 1            the raw app, without its protections\n  \
    lab up --env CACHE=off --replicas 1  one replica without a cache\n  \
    lab up --driver compose --detach     the same stack in containers")]
pub struct UpArguments {
    /// Processes of this machine, or containers through `docker compose`
    #[arg(long, value_enum, default_value_t = DriverArgument::Process)]
    pub driver: DriverArgument,

    /// How many API replicas
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub replicas: u32,

    /// Return when the stack is ready and leave it running
    #[arg(long, short)]
    pub detach: bool,

    /// Also start Prometheus, which scrapes every replica, nginx, Postgres and Redis
    #[arg(long)]
    pub observe: bool,

    /// Run the app as it was in this phase: 1 raw, 2 scaled, 3 cached, 4 with timeouts, retries and backpressure
    #[arg(long, value_name = "1..4", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub phase: Option<u8>,

    /// Set a variable for the replicas; may be repeated (see `api config check`)
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,

    /// Where nginx listens [default: 8080, or the next free port]; 0 draws all ports at random
    #[arg(long)]
    pub port: Option<u16>,

    /// CPU time of each replica, in cores (needs root or delegated control groups)
    #[arg(long, value_name = "CORES")]
    pub cpus: Option<f64>,

    /// The API's program [default: `api` beside this program]
    #[arg(long, value_name = "FILE")]
    pub api_bin: Option<PathBuf>,

    /// Do not install missing servers, only say which
    #[arg(long)]
    pub no_install: bool,

    /// Also serve the console, see `lab console`; it ends with this command
    #[arg(long, conflicts_with = "detach")]
    pub console: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab console                  print the address and open it; Ctrl-C ends it and undoes its faults\n  \
    lab console --read-only      for a projector: nothing can be broken from it\n\n\
    It listens on loopback only. From another machine: `ssh -L 7070:127.0.0.1:7070 HOST`, then the same address.")]
pub struct ConsoleArguments {
    /// Where the console listens on loopback [default: the first free one from 7070]; 0 takes any
    #[arg(long)]
    pub port: Option<u16>,

    /// Only show
    #[arg(long)]
    pub read_only: bool,

    /// Do not open a browser, only print the address
    #[arg(long)]
    pub no_open: bool,

    /// How often the page is renewed. For tests: in a day of seconds nothing may grow
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "1s", hide = true)]
    pub every: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab configure --phase 1                        the raw app\n  \
    lab configure --replicas 5 --env CACHE=off     more replicas, without a cache\n  \
    lab configure --no-phase --unset CACHE         as at first\n\n\
    What is not named stays as it is. The replicas are restarted one after the other where they have to be.")]
pub struct ConfigureArguments {
    /// How many API replicas
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,

    /// Run the app as it was in this phase
    #[arg(long, value_name = "1..4", value_parser = clap::value_parser!(u8).range(1..=4), conflicts_with = "no_phase")]
    pub phase: Option<u8>,

    /// Run the app with everything on
    #[arg(long)]
    pub no_phase: bool,

    /// Set a variable for the replicas; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,

    /// Take a variable back; may be repeated
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,

    /// Connections to Postgres of each replica
    #[arg(long, value_name = "N")]
    pub connections: Option<u32>,

    /// CPU time of each replica, in cores
    #[arg(long, value_name = "CORES", conflicts_with = "no_cpus")]
    pub cpus: Option<f64>,

    /// As much CPU time as there is
    #[arg(long)]
    pub no_cpus: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab history                          two minutes, faults by a seed that it tells\n  \
    lab history --seed 7 --duration 10m  the faults and the load of that seed\n  \
    lab history --near-cache             with NEAR_CACHE=on, and its bound\n  \
    lab history --check history-7.ndjson judge a recorded one again\n\n\
    Exit codes: 0 every promise held, 1 one was broken, 2 not possible as asked or nothing proven, 130 interrupted.")]
pub struct HistoryArguments {
    /// For how long to write, read and break
    #[arg(long, value_name = "TIME", value_parser = parse_recording_time, default_value = "2m")]
    pub duration: Duration,

    /// Of the load and of the faults [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Only these kinds of faults, such as pause-api,flush (a wrong word lists them all)
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',', value_parser = parse_history_fault)]
    pub only: Vec<String>,

    /// How long all is well after each fault [default: a time at random]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub calm: Option<Duration>,

    /// The API's program [default: beside this one]
    #[arg(long, value_name = "FILE")]
    pub api_bin: Option<PathBuf>,

    /// With near caches (NEAR_CACHE=on): their answers may be old by 200 ms, and not by more
    #[arg(long)]
    pub near_cache: bool,

    /// Keep the history in this file, which must not exist [default: history-SEED.ndjson, with a number if that exists]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Judge a recorded history instead of recording one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "seed", "near_cache", "out"])]
    pub check: Option<PathBuf>,

    /// Write the few calls that prove a violation, the first three of each promise, to files in this folder
    #[arg(long, value_name = "DIR")]
    pub proof: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DriverArgument {
    Process,
    Compose,
}

impl From<DriverArgument> for DriverKind {
    fn from(argument: DriverArgument) -> Self {
        match argument {
            DriverArgument::Process => Self::Process,
            DriverArgument::Compose => Self::Compose,
        }
    }
}

fn parse_history_fault(text: &str) -> Result<String, String> {
    let words = Aim::words();
    if words.iter().any(|word| word == text) {
        Ok(text.to_owned())
    } else {
        Err(format!("choose from {}", words.join(", ")))
    }
}

/// A time with its unit: `500ms`, `1.5s`, `2m`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = loadgen::duration::parse(text)?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(24 * 3_600);
    if bounds.contains(&time) { Ok(time) } else { Err("from 1ms to 24h".to_owned()) }
}

/// A number of bytes: `64kb`, `1mb`, `4096`.
fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| "expected a number of bytes, like 4096, 64kb or 1mb".to_owned())?;
    let factor = match unit {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        other => return Err(format!("unknown unit `{other}`: use b, kb, mb or gb")),
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(|| "out of range".to_owned())
}

/// A recording in memory has its bounds: an hour is some two million calls.
fn parse_recording_time(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    let bounds = Duration::from_secs(5)..=Duration::from_secs(3_600);
    if bounds.contains(&time) { Ok(time) } else { Err("from 5s to 60m".to_owned()) }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    let is_name = |name: &str| {
        let mut characters = name.chars();
        characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !is_name(name) {
        return Err(format!("`{name}` cannot be the name of a variable"));
    }
    if value.contains('\0') {
        return Err("a value cannot hold a NUL".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1_500)));
        for text in ["", "5", "s", "-5s", "25h", "0s", "NaNs", "99999999999999999999s", "18446744073709551615m"] {
            assert!(parse_time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64kb"), Ok(65_536));
        for text in ["", "kb", "0", "-1", "1.5mb", "1tb", "99999999999gb"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn variables_have_a_name() {
        assert_eq!(parse_variable("CACHE=off"), Ok(("CACHE".into(), "off".into())));
        assert_eq!(parse_variable("X=a=b"), Ok(("X".into(), "a=b".into())));
        for text in ["", "CACHE", "=x", "1A=x", "A B=x"] {
            assert!(parse_variable(text).is_err(), "{text:?}");
        }
    }
}
