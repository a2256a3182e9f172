//! `load ab`: two servers, workloads or programs measured alternately.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::args::{LoadArgs, RequestArgs, plan};
use super::live::Live;
use super::output::Output;
use super::program::Program;
use super::run::{reach, watch};
use super::{ExitResult, command_line, listen, print, runtime};
use crate::ab::{Record, Round, SCHEMA, Side};
use crate::engine;
use crate::error::LoadError;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::report::{Outcome, PlanRecord, Report};
use crate::secrets;
use crate::signals::Signals;

/// The length of each run if nothing else ends it. There are twenty of them, and twenty more of A against itself.
const DEFAULT_LENGTH: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct AbArgs {
    /// One side: a URL; a workload file (`*.toml`), run against --target; or a command that starts a server, measured at
    /// --target and stopped after each run.
    a: String,
    /// The other side.
    b: String,
    /// The server for workloads and for started programs: `http://host:port`, for commands with a path.
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Number of rounds in which both sides are measured; at least 8 are needed for a finding.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    rounds: u16,
    /// Do not measure A against itself. That takes as long again and shows whether this machine finds equal sides
    /// equal.
    #[arg(long)]
    no_control: bool,
    /// Exit with 1 when B is significantly worse, and with 2 when that could not be judged.
    #[arg(long)]
    fail_if_worse: bool,
    /// Store the summary of each run.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(flatten)]
    load: LoadArgs,

    #[command(flatten)]
    request: RequestArgs,
}

/// One side, ready for measurement.
struct Contender {
    name: String,
    plan: Plan,
    /// The program to start for it.
    program: Option<String>,
}

pub(super) fn run(args: &AbArgs) -> ExitResult {
    let (a, b) = (args.contender(&args.a)?, args.contender(&args.b)?);
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let (rounds, control) = runtime()?.block_on(args.measure(&a, &b))?;
    let side = |contender: &Contender| Side {
        name: secrets::mask_url(&contender.name),
        plan: PlanRecord::new(&contender.plan),
    };
    let record = Record {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command_line(),
        machine: Machine::this(),
        a: side(&a),
        b: side(&b),
        rounds,
        control,
    };
    let printed = print(&record.to_text());
    if let Some(json) = json {
        json.write(&record.to_json())?;
    }
    printed?;
    let interrupted = record.rounds.len() < usize::from(args.rounds);
    Ok(if interrupted { Outcome::Interrupted.exit_code() } else { record.verdict().exit_code(args.fail_if_worse) })
}

impl AbArgs {
    fn contender(&self, text: &str) -> Result<Contender, LoadError> {
        let target = || {
            let needed = "needs --target http://host:port, where workloads and started servers are measured";
            self.target.clone().ok_or_else(|| LoadError::setting("this comparison", needed))
        };
        let is_url = ["http://", "https://", "unix:"].iter().any(|scheme| text.starts_with(scheme));
        let is_workload = !is_url && Path::new(text).extension().is_some_and(|extension| extension == "toml");
        let (url, workload, program) = match (is_url, is_workload) {
            (true, _) => (text.to_owned(), None, None),
            (_, true) => (target()?, Some(Path::new(text)), None),
            (false, false) => (target()?, None, Some(text.to_owned())),
        };
        let mut plan = plan(&[url], workload, &self.load, &self.request)?;
        if workload.is_none() && !self.load.has_end() {
            plan = plan.lasting(DEFAULT_LENGTH)?;
        }
        Ok(Contender { name: text.to_owned(), plan, program })
    }

    /// All rounds, alternating with those of A against itself; fewer if a signal ended them.
    async fn measure(&self, a: &Contender, b: &Contender) -> Result<(Vec<Round>, Vec<Round>), LoadError> {
        let mut signals = listen()?;
        let (mut rounds, mut control) = (Vec::new(), Vec::new());
        for round in 0..usize::from(self.rounds) {
            let of = format!("round {} of {}, ", round + 1, self.rounds);
            // A B, B A, A B, …: a steady drift affects both sides equally.
            let is_turned = round % 2 == 1;
            let Some(pair) = pair(&of, ("A", a), ("B", b), is_turned, &mut signals).await? else { break };
            rounds.push(pair);
            if !self.no_control {
                let Some(pair) = pair_of_control(&of, a, is_turned, &mut signals).await? else { break };
                control.push(pair);
            }
        }
        if rounds.is_empty() {
            return Err(LoadError::Interrupted { what: "the first round was over" });
        }
        Ok((rounds, control))
    }
}

async fn pair_of_control(
    of: &str,
    a: &Contender,
    is_turned: bool,
    signals: &mut Signals,
) -> Result<Option<Round>, LoadError> {
    pair(of, ("A", a), ("A again", a), is_turned, signals).await
}

/// A pair of runs, with the second side first if the order is swapped; `None` if a signal ended it.
async fn pair(
    of: &str,
    first: (&str, &Contender),
    second: (&str, &Contender),
    is_turned: bool,
    signals: &mut Signals,
) -> Result<Option<Round>, LoadError> {
    let order = if is_turned { [second, first] } else { [first, second] };
    let mut reports = Vec::new();
    for (name, contender) in order {
        match measure(contender, format!("{of}{name}  "), signals).await {
            Ok(report) if report.verdict.outcome == Outcome::Interrupted => return Ok(None),
            Err(LoadError::Interrupted { .. }) => return Ok(None),
            report => reports.push(report?),
        }
    }
    if is_turned {
        reports.reverse();
    }
    let invalid = reports.iter().flat_map(|report| report.verdict.invalid.clone()).collect();
    let mut summaries = reports.into_iter().map(|report| report.summary);
    Ok(summaries.next().zip(summaries.next()).map(|(a, b)| Round { a, b, invalid }))
}

/// One run; starts the server of the side first if there is one.
async fn measure(contender: &Contender, title: String, signals: &mut Signals) -> Result<Report, LoadError> {
    let target = &contender.plan.target;
    let program = match &contender.program {
        Some(command) => Some(Program::start(command, target, signals).await?),
        None => None,
    };
    let addresses = reach(target, signals).await?;
    let running = engine::start(contender.plan.clone(), addresses)?;
    let report = watch(running, Live::new(&contender.plan, title), signals).await;
    if let Some(program) = program {
        program.stop()?;
    }
    report
}
