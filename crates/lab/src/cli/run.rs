//! The arguments of `lab run` and `lab list`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::DriverArgument;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab run redis-pause --quick            break it, measure, undo, judge: some seconds\n  \
    lab run stampede cache --repeat 3      each arm three times, interleaved; every run is judged\n  \
    lab run --all --quick --out reports    everything, with a report each and an index\n  \
    lab run ./my-experiment.toml           your own (see `lab init`)\n  \
    lab run backpressure --dry-run         what would be done, and when\n\n\
    Exit codes: 0 every hypothesis held, 1 one deviated, 2 one could not be judged, 130 interrupted (after undoing).")]
pub struct RunArguments {
    /// Experiments (see `lab list`), or files of your own
    #[arg(required_unless_present = "all", value_name = "NAME|FILE.toml")]
    pub experiments: Vec<String>,

    /// Every experiment of the list
    #[arg(long, conflicts_with = "experiments")]
    pub all: bool,

    /// Only print what would be done, and when
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub how: HowArguments,
}

/// How experiments are run.
#[derive(Debug, Args)]
pub struct HowArguments {
    /// The same questions in a shorter time
    #[arg(long)]
    pub quick: bool,

    /// Each arm so many times, interleaved; every run is judged
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,

    /// Of the load and of whatever is drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Where journals and reports go, in a folder for each experiment
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,

    /// How to run the stack [default: the one that is up, else process]
    #[arg(long)]
    pub driver: Option<DriverArgument>,

    /// How much more than its bound a time may be on this machine, in percent of the bound, the load generator's delay
    /// included; it stands in the report
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub allowance: u16,

    /// The API's program, for the process driver [default: beside this one]
    #[arg(long, value_name = "FILE")]
    pub api_bin: Option<PathBuf>,
}

impl HowArguments {
    /// The allowance as a part of the bound.
    pub(crate) fn allowance(&self) -> f64 {
        f64::from(self.allowance) / 100.0
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab lesson                             the lessons, with their experiments\n  \
    lab lesson your-first-system --quick   run one from beginning to end; the certificate is written to reports/")]
pub struct LessonArguments {
    /// Run the experiments of this lesson in order and judge its target [default: list the lessons]
    pub name: Option<String>,

    #[command(flatten)]
    pub how: HowArguments,
}

/// Times in a plan: to the tenth of a second.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
