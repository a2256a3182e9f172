//! The interface over a running stack: one handle, whichever driver started it.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Endpoints, FaultKind, Interrupt, Operation, Project, StackError, Status, Target,
    compose::{self, ComposeStack},
    folder::Folder,
    process::{self, ProcessStack},
    record::{Record, Stage},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    Process,
    Compose,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Compose => "compose",
        })
    }
}

/// What this crate needs from the program's environment; it reads no variable itself.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    /// `PATH`: where servers are looked for, before the usual folders.
    pub search_path: OsString,
    /// Who called `sudo`: a candidate for the user that Postgres runs as.
    pub sudo_user: Option<String>,
}

/// How to start a stack.
#[derive(Debug, Clone)]
pub struct UpOptions {
    pub driver: DriverKind,
    pub folder: PathBuf,
    pub project: Project,
    pub host: HostEnvironment,
    pub replicas: u32,
    /// Sets `PHASE` for the replicas.
    pub phase: Option<u8>,
    /// More variables for the replicas.
    pub env: Vec<(String, String)>,
    /// nginx's port. `None`: 8080 or the next free one; 0: all ports are drawn at random.
    pub port: Option<u16>,
    /// CPU quota of each replica, in cores.
    pub cpus: Option<f64>,
    /// The API's program; the process driver needs it.
    pub api: PathBuf,
    /// Whether missing servers may be installed by the package manager.
    pub install: bool,
}

/// The part that each driver does in its own way. The lock is held by the caller.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    fn kind(&self) -> DriverKind;
    /// What `inject` and `heal` accept.
    fn targets(&self) -> Result<Vec<Target>, StackError>;
    fn status(&self) -> Result<Status, StackError>;
    fn endpoints(&self) -> Result<Endpoints, StackError>;
    fn inject(&self, fault: FaultKind, target: Target, operation: &Operation<'_>) -> Result<String, StackError>;
    fn heal(&self, only: Option<Target>, operation: &Operation<'_>) -> Result<Vec<String>, StackError>;
    fn scale(&self, replicas: u32, operation: &Operation<'_>) -> Result<(), StackError>;
    /// Starts what watches the stack. Returns what is to be said about it.
    fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError>;
    /// Servers that died although no fault was given to them, once each.
    fn watch(&self, watched: &mut Watched) -> Result<Vec<Target>, StackError>;
}

/// What a watcher has told already.
#[derive(Debug, Default)]
pub struct Watched {
    dead: Vec<Target>,
}

impl Watched {
    /// The new ones among those that are dead now.
    pub(crate) fn update(&mut self, dead: Vec<Target>) -> Vec<Target> {
        let new = dead.iter().filter(|target| !self.dead.contains(target)).copied().collect();
        self.dead = dead;
        new
    }
}

/// A stack that was started, by this program or another.
#[derive(Debug)]
pub struct Stack {
    folder: Folder,
    driver: Box<dyn Driver>,
}

impl Stack {
    /// Starts everything and returns when it answers. On any failure all that was started is stopped again.
    pub fn up(options: &UpOptions, operation: &Operation<'_>) -> Result<Self, StackError> {
        check_replicas(options.replicas)?;
        options.cpus.map_or(Ok(()), check_cpus)?;
        match options.driver {
            DriverKind::Process => process::check(options)?,
            DriverKind::Compose => compose::check(options)?,
        }
        let folder = Folder::create(&options.folder)?;
        let _lock = folder.try_lock("up")?;
        clear_wreckage(&folder, operation)?;
        match options.driver {
            DriverKind::Process => process::up(&folder, options, operation)?,
            DriverKind::Compose => compose::up(&folder, options, operation)?,
        }
        Self::from_folder(folder)
    }

    /// The stack that runs from this state folder.
    pub fn connect(folder: &Path) -> Result<Self, StackError> {
        Self::from_folder(Folder::open(folder)?)
    }

    fn from_folder(folder: Folder) -> Result<Self, StackError> {
        let driver: Box<dyn Driver> = match Record::load(&folder)? {
            None => {
                return Err(StackError::NotRunning { folder: folder.root().to_owned() });
            }
            Some(Record::Compose(record)) if record.stage == Stage::Stopped => {
                return Err(StackError::NotRunning { folder: folder.root().to_owned() });
            }
            Some(Record::Process(_)) => Box::new(ProcessStack::new(folder.clone())),
            Some(Record::Compose(_)) => Box::new(ComposeStack::new(folder.clone())),
        };
        Ok(Self { folder, driver })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.root()
    }

    #[must_use]
    pub fn driver(&self) -> DriverKind {
        self.driver.kind()
    }

    pub fn status(&self) -> Result<Status, StackError> {
        self.driver.status()
    }

    pub fn endpoints(&self) -> Result<Endpoints, StackError> {
        self.driver.endpoints()
    }

    /// Reads a target's name; the error lists the valid ones.
    pub fn target(&self, text: &str) -> Result<Target, StackError> {
        let valid = self.driver.targets()?;
        match text.parse() {
            Ok(target) if valid.contains(&target) => Ok(target),
            _ => Err(StackError::UnknownTarget { given: text.to_owned(), valid }),
        }
    }

    /// Breaks a server. Returns what was done once the fault has taken hold.
    pub fn inject(&self, fault: FaultKind, target: Target, operation: &Operation<'_>) -> Result<String, StackError> {
        let _lock = self.folder.lock("fault", operation)?;
        self.target(&target.to_string())?;
        self.driver.inject(fault, target, operation)
    }

    /// Undoes every fault (or those of one server) and starts again what is not running; waits until it answers.
    /// Returns a line for each thing that had to be done.
    pub fn heal(&self, only: Option<Target>, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        let _lock = self.folder.lock("heal", operation)?;
        if let Some(target) = only {
            self.target(&target.to_string())?;
        }
        self.driver.heal(only, operation)
    }

    /// Changes the number of replicas; those that go drain first.
    pub fn scale(&self, replicas: u32, operation: &Operation<'_>) -> Result<(), StackError> {
        check_replicas(replicas)?;
        let _lock = self.folder.lock("scale", operation)?;
        self.driver.scale(replicas, operation)
    }

    /// Starts what watches the stack: Prometheus, and what tells it of nginx, Postgres and Redis. The stack runs without
    /// them as well, so what is missing is no error: it is said in the lines that this returns.
    pub fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        let _lock = self.folder.lock("observe", operation)?;
        self.driver.observe(host, operation)
    }

    /// For a program that stays beside the stack: servers that have died since the last look without a fault.
    pub fn watch(&self, watched: &mut Watched) -> Result<Vec<Target>, StackError> {
        self.driver.watch(watched)
    }
}

/// Each replica holds a handful of Postgres's 100 connections.
const MOST_REPLICAS: u32 = 16;

/// A hundredth of a core is the least that the kernel accepts.
const CPUS: std::ops::RangeInclusive<f64> = 0.01..=64.0;

fn check_replicas(replicas: u32) -> Result<(), StackError> {
    if (1..=MOST_REPLICAS).contains(&replicas) {
        return Ok(());
    }
    Err(StackError::Usage(format!("a stack has 1 to {MOST_REPLICAS} replicas, not {replicas}")))
}

fn check_cpus(cpus: f64) -> Result<(), StackError> {
    if CPUS.contains(&cpus) {
        return Ok(());
    }
    Err(StackError::Usage(format!("--cpus takes {} to {} cores, not {cpus}", CPUS.start(), CPUS.end())))
}

/// Stops whatever is left of a stack, whole or wrecked. True when there was something. `purge` removes the data too.
pub fn down(folder: &Path, purge: bool, operation: &Operation<'_>) -> Result<bool, StackError> {
    let folder = match Folder::open(folder) {
        Ok(folder) => folder,
        Err(StackError::NotRunning { folder }) => {
            if purge {
                // A start that was cut short before its first file leaves an empty folder; no other goes.
                let _ = std::fs::remove_dir(folder);
            }
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    // From here on an interrupt no longer ends the operation, it only hurries it: see `Interrupt::count`.
    let _lock = folder.lock_to_stop(operation)?;
    let found = stop(&folder, purge, operation)?;
    if purge {
        folder.purge()?;
    }
    Ok(found)
}

fn stop(folder: &Folder, purge: bool, operation: &Operation<'_>) -> Result<bool, StackError> {
    let record = Record::load(folder);
    if let Ok(Some(Record::Compose(record))) = &record {
        let ran = record.stage != Stage::Stopped;
        if ran || purge {
            compose::stop(folder, record, purge, operation)?;
        }
        return Ok(ran);
    }
    if let Err(error @ StackError::Record { .. }) = &record {
        operation.progress.note(&format!("{error}; stopping what the folder knows of"));
    }
    process::stop(folder, operation)
}

/// Before a start: refuses when a stack runs, clears what an earlier lab left unfinished.
fn clear_wreckage(folder: &Folder, operation: &Operation<'_>) -> Result<(), StackError> {
    let record = Record::load(folder);
    let running = match &record {
        Ok(Some(Record::Process(record))) if record.stage == Stage::Running => process::alive(folder, record)?,
        Ok(Some(Record::Compose(record))) if record.stage == Stage::Running => compose::alive(record)?,
        _ => None,
    };
    if let Some(detail) = running {
        return Err(StackError::AlreadyRunning { folder: folder.root().to_owned(), detail });
    }
    let is_clear = match &record {
        Ok(None) => true,
        Ok(Some(Record::Compose(record))) => record.stage == Stage::Stopped,
        Ok(Some(Record::Process(_))) | Err(_) => false,
    };
    if !is_clear {
        operation.progress.note("an earlier run did not end in good order; clearing what it left");
    }
    // Also without a record: process numbers may be left from a run whose record was removed by hand.
    stop(folder, false, &Operation { progress: operation.progress, interrupt: Interrupt::default() })?;
    operation.interrupt.check()
}
