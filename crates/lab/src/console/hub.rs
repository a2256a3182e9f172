//! What the parts of the console share: one handle, cloned freely. Each part keeps its own state behind its own lock.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use stack::{Interrupt, Operation, Stack, StackError, Status, Topology, UpOptions};
use tokio::sync::watch;

use super::{
    events::EventLog, frame::Frame, history::History, hold::Hold, lens::LensResult, load::LoadPanel, run::RunState,
    tour::Tour, traffic::Traffic,
};

/// How a console was started.
#[derive(Debug)]
pub(super) struct HubOptions {
    pub(super) folder: PathBuf,
    /// `127.0.0.1:PORT`, as browsers send it as `Host`.
    pub(super) authority: String,
    pub(super) token: String,
    /// Tells the frames of this console from those of an earlier one.
    pub(super) epoch: i64,
    pub(super) is_read_only: bool,
    /// From one frame to the next.
    pub(super) every: Duration,
    /// How a user calls this program on this stack, for commands to copy.
    pub(super) program: String,
    /// This program's file, to be started as the keeper.
    pub(super) agent: PathBuf,
    /// With what the page starts a stack where none runs.
    pub(super) up: Option<UpOptions>,
}

/// What the last look at the stack found.
#[derive(Debug, Clone)]
pub(super) enum Look {
    /// Not looked yet.
    None,
    Up {
        status: Box<Status>,
        topology: Topology,
    },
    /// No stack runs from this folder.
    Down(String),
    /// It cannot be told: Docker is gone, the record cannot be read.
    Trouble(String),
}

impl Look {
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Up { status, .. } => Some(status),
            Self::None | Self::Down(_) | Self::Trouble(_) => None,
        }
    }

    pub(super) fn topology(&self) -> Option<&Topology> {
        match self {
            Self::Up { topology, .. } => Some(topology),
            Self::None | Self::Down(_) | Self::Trouble(_) => None,
        }
    }
}

/// A restart of the replicas, as it was asked for here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RestartSeen {
    pub(super) is_rolling: bool,
    /// Seconds since 1970.
    pub(super) from: f64,
    pub(super) to: f64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: HubOptions,
    pub(super) interrupt: Interrupt,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) hold: Hold,
    pub(super) events: EventLog,
    pub(super) load: LoadPanel,
    history: Mutex<History>,
    look: Mutex<Look>,
    traffic: Mutex<Option<Traffic>>,
    lens: Mutex<Option<Arc<LensResult>>>,
    lens_lines: Mutex<VecDeque<String>>,
    run: Mutex<Option<Arc<RunState>>>,
    tour: Mutex<Tour>,
    busy: Mutex<Option<String>>,
    restart: Mutex<Option<RestartSeen>>,
    pub(super) frames: watch::Sender<Arc<Frame>>,
}

pub(super) type Hub = Arc<Shared>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(options: HubOptions, interrupt: Interrupt, runtime: tokio::runtime::Handle) -> Hub {
        let why = format!("lab console http://{}", options.authority);
        let hold = Hold::new(options.folder.clone(), why, options.agent.clone());
        Arc::new(Self {
            hold,
            options,
            interrupt,
            runtime,
            events: EventLog::default(),
            load: LoadPanel::default(),
            history: Mutex::default(),
            look: Mutex::new(Look::None),
            traffic: Mutex::default(),
            lens: Mutex::default(),
            lens_lines: Mutex::default(),
            run: Mutex::default(),
            tour: Mutex::default(),
            busy: Mutex::default(),
            restart: Mutex::default(),
            frames: watch::Sender::default(),
        })
    }

    /// For one action. It is silent: what happens is told by events.
    pub(super) fn operation(&self) -> Operation<'static> {
        Operation { interrupt: self.interrupt.clone(), ..Operation::default() }
    }

    pub(super) fn connect(&self) -> Result<Stack, StackError> {
        Stack::connect(&self.options.folder)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub(super) fn look(&self) -> Look {
        lock(&self.look).clone()
    }

    pub(super) fn set_look(&self, look: Look) {
        *lock(&self.look) = look;
    }

    pub(super) fn tour(&self) -> MutexGuard<'_, Tour> {
        lock(&self.tour)
    }

    pub(super) fn lens(&self) -> Option<Arc<LensResult>> {
        lock(&self.lens).clone()
    }

    pub(super) fn set_lens(&self, result: LensResult) {
        *lock(&self.lens) = Some(Arc::new(result));
    }

    /// The last run of the lab on this stack.
    pub(super) fn run(&self) -> Option<Arc<RunState>> {
        lock(&self.run).clone()
    }

    pub(super) fn set_run(&self, run: Option<Arc<RunState>>) {
        *lock(&self.run) = run;
    }

    /// What came out of nginx is counted here until the sampler takes it. `None`: its log cannot be read.
    pub(super) fn with_traffic<T>(&self, with: impl FnOnce(&mut Option<Traffic>) -> T) -> T {
        with(&mut lock(&self.traffic))
    }

    /// The last lines of nginx's log that are about the lens' own requests.
    pub(super) fn with_lens_lines<T>(&self, with: impl FnOnce(&mut VecDeque<String>) -> T) -> T {
        with(&mut lock(&self.lens_lines))
    }

    pub(super) fn busy(&self) -> Option<String> {
        lock(&self.busy).clone()
    }

    /// Marks a long change of the stack; `None` ends it.
    ///
    /// # Errors
    /// Another one is under way.
    pub(super) fn set_busy(&self, what: Option<String>) -> Result<(), StackError> {
        let mut busy = lock(&self.busy);
        match (&*busy, &what) {
            (Some(already), Some(_)) => Err(StackError::Conflict(format!("the console is busy: {already}"))),
            _ => {
                *busy = what;
                Ok(())
            }
        }
    }

    pub(super) fn restart(&self) -> Option<RestartSeen> {
        *lock(&self.restart)
    }

    pub(super) fn set_restart(&self, seen: RestartSeen) {
        *lock(&self.restart) = Some(seen);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.interrupt.count() > 0
    }

    /// Sleeps until then, or until the console ends.
    pub(super) fn sleep_until(&self, end: Instant) {
        while !self.is_ending() && Instant::now() < end {
            self.interrupt.sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_secs(1)));
        }
    }
}
