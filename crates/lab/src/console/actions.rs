//! What the page can do to the stack. Each action is in the event log from its beginning, with the command line that does the
//! same, and gets its measured effects there as they come.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stack::{FaultKind, Healed, Injected, Restart, Session, StackError, Target, Topology};
use time::OffsetDateTime;

use super::{
    effects::{Observer, span},
    events::Outcome,
    history,
    hub::{Hub, RestartSeen},
    load::Order,
    switches,
};

/// Effects that come later than this are no longer the fault's own.
const LONGEST_WATCH: Duration = Duration::from_secs(30);
/// Of a fault that is over at once (closed connections, an emptied cache), and of the end of one.
const SHORT_WATCH: Duration = Duration::from_secs(10);
/// In these last seconds before a fault, nothing failed, or what fails in it is not its effect.
const CALM: usize = 10;
const TELL_EVERY: Duration = Duration::from_millis(250);
/// As the page offers it; `lab scale` takes more.
const REPLICAS: std::ops::RangeInclusive<u32> = 1..=9;

/// A change of the stack.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Fault {
        kind: FaultKind,
        target: Target,
        time: Option<Duration>,
    },
    Undo(u64),
    HealAll,
    Scale(u32),
    /// The fields of the form with the switches.
    Configure(Vec<(String, String)>),
    Restart(Restart),
    Load(Order),
    Up,
}

/// Does it and returns what to tell. What takes longer than a click may (a restart of every replica) goes on in a thread.
///
/// # Errors
/// What keeps the action from being done, in words for the user; it is in the event log, too.
pub(super) fn perform(hub: &Hub, action: Action) -> Result<String, StackError> {
    match action {
        Action::Fault { kind, target, time } => give(hub, kind, target, time),
        Action::Undo(id) => undo(hub, id),
        Action::HealAll => heal_all(hub),
        Action::Scale(replicas) if REPLICAS.contains(&replicas) => {
            configure(hub, |topology| Ok(Topology { replicas, ..topology.clone() }))
        }
        Action::Scale(replicas) => Err(StackError::Usage(format!(
            "the console scales to {} to {} replicas, not {replicas}",
            REPLICAS.start(),
            REPLICAS.end()
        ))),
        Action::Configure(fields) => configure(hub, |topology| switches::changed(topology, &fields)),
        Action::Restart(restart) => restart_all(hub, restart),
        Action::Load(order) => load(hub, &order),
        Action::Up => up(hub),
    }
}

/// The words of `lab fault` for a fault.
pub(super) fn fault_words(kind: &FaultKind, target: Target, time: Option<Duration>) -> String {
    let options = match kind {
        FaultKind::Slow { latency, .. } => format!(" --latency {}ms", latency.as_millis()),
        FaultKind::LockTable { table } => format!(" --table {table}"),
        FaultKind::LockRow { table, row } => format!(" --table {table} --row {row}"),
        FaultKind::LimitConnections { most } => format!(" --most {most}"),
        FaultKind::LimitMemory { bytes } => format!(" --limit {bytes}"),
        FaultKind::AlterColumn { table, column, to } => format!(" --table {table} --column {column} --type {to}"),
        FaultKind::Corrupt { key } => format!(" --key {key}"),
        FaultKind::Leak { rate, limit } => format!(" --rate {rate} --limit {limit}"),
        FaultKind::Kill
        | FaultKind::Stop
        | FaultKind::Pause
        | FaultKind::Cut
        | FaultKind::Reset
        | FaultKind::HalfOpen
        | FaultKind::EndConnections
        | FaultKind::ReadOnly
        | FaultKind::FullDisk
        | FaultKind::Crash
        | FaultKind::PauseClients
        | FaultKind::Flush => String::new(),
    };
    let time = time.map(|time| format!(" --for {}s", time.as_secs())).unwrap_or_default();
    format!("fault {} {target}{options}{time}", kind.name())
}

/// Runs an action that is over when this returns.
fn logged<T>(
    hub: &Hub,
    what: &str,
    command: Option<String>,
    act: impl FnOnce(u64) -> Result<T, StackError>,
) -> Result<T, StackError> {
    let event = hub.events.begin(what, command.map(|words| format!("{} {words}", hub.options.program)));
    act(event).inspect_err(|error| fail(hub, event, error))
}

fn fail(hub: &Hub, event: u64, error: &StackError) {
    hub.events.effect(event, &error.to_string());
    hub.events.end(event, Outcome::Failed);
}

fn give(hub: &Hub, kind: FaultKind, target: Target, time: Option<Duration>) -> Result<String, StackError> {
    let what = format!("{kind} {target}");
    let command = fault_words(&kind, target, time);
    let is_momentary = kind.is_momentary();
    logged(hub, &what, Some(command), |event| {
        let session = hub.hold.take(&hub.operation())?;
        let is_failing = hub.history().points().rev().take(CALM).any(|point| point.server_errors > Some(0.0));
        let observer = Observer::of_a_fault(&session.endpoints()?.replicas, target, is_failing);
        let injected = session.inject(kind, target, &hub.operation())?;
        let until = time.filter(|_| !is_momentary).map(|time| injected.took_effect_at + time);
        if !is_momentary {
            hub.hold.keep(injected.id, session, until);
        }
        let took = format!("took effect after {}", span(injected.took_effect_at - injected.asked_at));
        hub.events.set_effects(event, std::slice::from_ref(&took));
        hub.events.end(event, Outcome::Done);
        let told = format!("{what}: {took}");
        let id = injected.id;
        watch(hub, event, took, injected, observer)?;
        if let Some(until) = until {
            undo_later(hub, id, until)?;
        }
        Ok(told)
    })
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StackError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|source| StackError::Io { what: "cannot start a thread".to_owned(), source })
}

/// Adds effects to the event until the fault is gone or too old.
fn watch(hub: &Hub, event: u64, took: String, injected: Injected, observer: Observer) -> Result<(), StackError> {
    let hub = hub.clone();
    let is_momentary = injected.kind.is_momentary();
    thread("watch", move || {
        let end = Instant::now() + if is_momentary { SHORT_WATCH } else { LONGEST_WATCH };
        loop {
            let is_gone = !is_momentary && !hub.hold.has(injected.id);
            let undone = if is_gone { hub.history().undone(injected.id) } else { None };
            let mut effects = vec![took.clone(), injected.evidence.clone()];
            effects.extend(observer.report(injected.asked_at, undone));
            hub.events.set_effects(event, &effects);
            if is_gone || hub.is_ending() || Instant::now() >= end {
                return;
            }
            hub.interrupt.sleep(TELL_EVERY);
        }
    })
}

fn undo_later(hub: &Hub, id: u64, until: OffsetDateTime) -> Result<(), StackError> {
    let hub = hub.clone();
    thread("undo", move || {
        let time = Duration::try_from(until - OffsetDateTime::now_utc()).unwrap_or_default();
        hub.sleep_until(Instant::now() + time);
        if !hub.is_ending() && hub.hold.has(id) {
            // Its failure is in the event log.
            let _told = undo(&hub, id);
        }
    })
}

fn undo(hub: &Hub, id: u64) -> Result<String, StackError> {
    let name = hub.look().status().and_then(|status| {
        let fault = status.faults().find(|fault| fault.id == id)?;
        Some((format!("{} {}", fault.kind, fault.target), fault.target))
    });
    let what = name.as_ref().map_or_else(|| format!("undo fault {id}"), |(name, _)| format!("undo {name}"));
    let targets: Vec<Target> = name.iter().map(|(_, target)| *target).collect();
    let command = name.map(|(_, target)| format!("heal {target}"));
    logged(hub, &what, command, |event| {
        let stack = hub.connect()?;
        let observer = Observer::of_an_end(&stack.endpoints()?.replicas, &targets);
        let asked = OffsetDateTime::now_utc();
        let healed = stack.undo(id, &hub.operation())?;
        // First its times, which what watches the fault asks for when it is let go.
        let told = tell_healed(hub, event, &healed.into_iter().collect::<Vec<_>>());
        hub.hold.let_go(id);
        watch_end(hub, event, told.clone(), asked, observer)?;
        Ok(told.first().cloned().unwrap_or_else(|| "it had been undone already".to_owned()))
    })
}

fn heal_all(hub: &Hub) -> Result<String, StackError> {
    logged(hub, "heal all", Some("heal".to_owned()), |event| {
        let session = hub.hold.take(&hub.operation())?;
        let targets: Vec<Target> = session.status()?.faults().map(|fault| fault.target).collect();
        let observer = Observer::of_an_end(&session.endpoints()?.replicas, &targets);
        let asked = OffsetDateTime::now_utc();
        let outcome = session.heal(None, &hub.operation());
        let (healed, failed) = match outcome {
            Ok(healed) => (healed, Vec::new()),
            Err(StackError::NotAllHealed { healed, failed }) => (healed, failed),
            Err(error) => return Err(error),
        };
        let told = tell_healed(hub, event, &healed);
        release_healed(hub)?;
        if !failed.is_empty() {
            return Err(StackError::NotAllHealed { healed, failed });
        }
        watch_end(hub, event, told.clone(), asked, observer)?;
        Ok(if healed.is_empty() { "nothing to heal: everything is up".to_owned() } else { told.join("; ") })
    })
}

fn release_healed(hub: &Hub) -> Result<(), StackError> {
    let looked = Instant::now();
    let known: Vec<u64> = hub.connect()?.status()?.faults().map(|fault| fault.id).collect();
    hub.hold.reconcile(&known, looked);
    Ok(())
}

fn tell_healed(hub: &Hub, event: u64, healed: &[Healed]) -> Vec<String> {
    let mut told: Vec<String> = healed
        .iter()
        .map(|healed| format!("{} answered after {}", healed.target, span(healed.answered_at - healed.asked_at)))
        .collect();
    if healed.is_empty() {
        told.push("nothing was broken".to_owned());
    }
    for healed in healed {
        hub.history().healed(healed);
    }
    hub.events.set_effects(event, &told);
    hub.events.end(event, Outcome::Done);
    told
}

fn watch_end(
    hub: &Hub,
    event: u64,
    told: Vec<String>,
    asked: OffsetDateTime,
    observer: Observer,
) -> Result<(), StackError> {
    let hub = hub.clone();
    thread("watch", move || {
        let end = Instant::now() + SHORT_WATCH;
        while !hub.is_ending() && Instant::now() < end {
            let mut effects = told.clone();
            effects.extend(observer.report(asked, None));
            hub.events.set_effects(event, &effects);
            hub.interrupt.sleep(TELL_EVERY);
        }
    })
}

/// Runs a change that restarts replicas, in a thread of its own.
fn long(
    hub: &Hub,
    what: String,
    command: String,
    act: impl FnOnce(&Session) -> Result<Vec<String>, StackError> + Send + 'static,
) -> Result<String, StackError> {
    let told = format!("{what}: under way");
    logged(hub, &what.clone(), Some(command), |event| {
        let session = hub.hold.take(&hub.operation())?;
        hub.set_busy(Some(what))?;
        let hub = hub.clone();
        let shared = hub.clone();
        let run = move || {
            let start = Instant::now();
            match act(&session) {
                Ok(effects) => {
                    hub.events
                        .effect(event, &format!("done after {}", span(start.elapsed().try_into().unwrap_or_default())));
                    effects.iter().for_each(|effect| hub.events.effect(event, effect));
                    hub.events.end(event, Outcome::Done);
                }
                Err(error) => fail(&hub, event, &error),
            }
            let _free = hub.set_busy(None);
        };
        thread("change", run).inspect_err(|_| drop(shared.set_busy(None)))
    })?;
    Ok(told)
}

fn configure(hub: &Hub, wanted: impl FnOnce(&Topology) -> Result<Topology, StackError>) -> Result<String, StackError> {
    let before = hub.connect()?.topology()?;
    let after = wanted(&before)?;
    let words = switches::words(&before, &after);
    if words.is_empty() {
        return Ok("it is set like that already".to_owned());
    }
    let only_replicas = Topology { replicas: after.replicas, ..before.clone() } == after;
    let (what, command) = if only_replicas {
        (format!("scale to {}", after.replicas), format!("scale {}", after.replicas))
    } else {
        (
            format!("set {}", words.join(" ").replace("--env ", "").replace("--", "")),
            format!("configure {}", words.join(" ")),
        )
    };
    let shared = hub.clone();
    long(hub, what, command, move |session| {
        let from = now();
        session.configure(&after, &shared.operation())?;
        Ok(failures(&shared, from).into_iter().collect())
    })
}

fn restart_all(hub: &Hub, restart: Restart) -> Result<String, StackError> {
    let (what, command) = match restart {
        Restart::Rolling => ("restart one by one", "restart"),
        Restart::AllAtOnce => ("restart all at once", "restart --all-at-once"),
    };
    let shared = hub.clone();
    long(hub, what.to_owned(), command.to_owned(), move |session| {
        let from = now();
        session.restart(restart, &shared.operation())?;
        let seen = RestartSeen { is_rolling: restart == Restart::Rolling, from, to: now() };
        let failures = failures(&shared, from);
        shared.set_restart(seen);
        Ok(failures.into_iter().collect())
    })
}

fn now() -> f64 {
    history::seconds(OffsetDateTime::now_utc())
}

/// What clients met since then; `None` where nothing was asked for.
fn failures(hub: &Hub, from: f64) -> Option<String> {
    // The second that is just being counted belongs to it.
    hub.interrupt.sleep(Duration::from_millis(1_100));
    let history = hub.history();
    let points = || history.points().rev().take_while(|point| point.at > from);
    let total: f64 = points().map(history::Point::total).sum();
    let failed: f64 = points().map(history::Point::failed).sum();
    (total > 0.0).then(|| format!("{failed:.0} of {total:.0} requests failed meanwhile"))
}

fn load(hub: &Hub, order: &Order) -> Result<String, StackError> {
    let what = format!("load {order}");
    if *order == Order::Off {
        // Needs nothing of the stack, which may be gone.
        return logged(hub, &what, None, |event| {
            hub.load.stop();
            hub.events.end(event, Outcome::Done);
            Ok(what.clone())
        });
    }
    let base_url = hub.connect()?.endpoints()?.base_url;
    let event = hub.events.begin(&what, order.command(&base_url));
    let start = || {
        let session = hub.hold.take(&hub.operation())?;
        let ended = {
            let (hub, what) = (hub.clone(), what.clone());
            move |words: String| hub.events.note(&format!("{what} ended"), &words)
        };
        hub.load.start(order, &base_url, session, &hub.runtime, ended)
    };
    start().inspect_err(|error| fail(hub, event, error))?;
    hub.events.end(event, Outcome::Done);
    Ok(what)
}

fn up(hub: &Hub) -> Result<String, StackError> {
    let Some(options) = hub.options.up.clone() else {
        return Err(StackError::Usage(
            "this console was started outside of the project: use `lab up` there".to_owned(),
        ));
    };
    hub.set_busy(Some("starting the stack".to_owned()))?;
    let what = "start the stack";
    let event = hub.events.begin(what, Some(format!("{} up --detach", hub.options.program)));
    let shared = Arc::clone(hub);
    let run = move || {
        let start = Instant::now();
        match stack::Stack::up(&options, &shared.operation()) {
            Ok(_) => {
                shared
                    .events
                    .effect(event, &format!("up after {}", span(start.elapsed().try_into().unwrap_or_default())));
                shared.events.end(event, Outcome::Done);
            }
            Err(error) => fail(&shared, event, &error),
        }
        let _free = shared.set_busy(None);
    };
    thread("up", run)?;
    Ok("starting the stack".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_does_the_same() {
        let ms = Duration::from_millis;
        let slow = FaultKind::Slow { latency: ms(100), jitter: ms(0), bandwidth: None };
        let ten = Some(Duration::from_secs(10));
        assert_eq!(fault_words(&slow, Target::Redis, ten), "fault slow redis --latency 100ms --for 10s");
        assert_eq!(fault_words(&FaultKind::Kill, Target::Api(2), None), "fault kill api-2");
        let limit = FaultKind::LimitConnections { most: 2 };
        assert_eq!(fault_words(&limit, Target::Postgres, None), "fault limit-connections postgres --most 2");
    }
}
