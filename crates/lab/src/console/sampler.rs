//! The one place that looks at the stack: however many viewers there are, each server is asked once a second.
//!
//! Four threads, since each of them may have to wait: the status (a server that hangs costs a whole probe), nginx's log (ten
//! looks a second, so that it is never far behind), the journal of a run, and the second's own sample.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use stack::{Stack, StackError, State, Status, Target};
use time::OffsetDateTime;

use super::{
    announcement::Announcement,
    frame::Frame,
    history::{self, Point},
    hub::{Hub, Look},
    load::Order,
    metrics::Scrape,
    processes::Processes,
    replica::{CacheResults, Edge, Replica},
    run,
    tour::Facts,
    traffic::{AccessLog, Traffic},
    view::View,
};

const SECOND: Duration = Duration::from_secs(1);
const LOG_EVERY: Duration = Duration::from_millis(100);
/// A replica that takes longer is drawn as one that does not answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// Lines about the lens' own requests.
const LENS_LINES: usize = 20;

/// Starts the threads; they end with the console.
pub(super) fn start(hub: &Hub, announcement: Announcement) -> Result<(), StackError> {
    let failed = |source| StackError::Io { what: "cannot start a thread".to_owned(), source };
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    let (status, log, journal, sample) = (hub.clone(), hub.clone(), hub.clone(), hub.clone());
    named("status").spawn(move || watch_status(&status, announcement)).map_err(failed)?;
    named("access-log").spawn(move || watch_log(&log)).map_err(failed)?;
    named("journal").spawn(move || run::watch(&journal)).map_err(failed)?;
    named("sampler").spawn(move || Sampler::default().run(&sample)).map_err(failed)?;
    Ok(())
}

fn watch_status(hub: &Hub, mut announcement: Announcement) {
    while !hub.is_ending() {
        let start = Instant::now();
        let found = look(hub);
        if let Look::Up { status, .. } = &found {
            let known: Vec<u64> = status.faults().map(|fault| fault.id).collect();
            // First their times, which what watches a fault asks for when it is let go.
            let faults: Vec<_> = status.faults().cloned().collect();
            hub.history().reconcile(&faults, history::seconds(OffsetDateTime::now_utc()));
            hub.hold.reconcile(&known, start);
            announcement.renew();
        } else if let Look::Down(_) = &found {
            hub.history().reconcile(&[], history::seconds(OffsetDateTime::now_utc()));
            if let Some(stopped) = hub.load.stop() {
                hub.events.note(&format!("load {stopped} ended"), "the stack is down");
            }
        }
        // Where it cannot be told how the stack is, faults and load stay as they were: it may well be up.
        hub.set_look(found);
        hub.sleep_until(start + SECOND / 2);
    }
}

fn look(hub: &Hub) -> Look {
    let look = |stack: Stack| {
        let status = Box::new(stack.status()?);
        Ok(Look::Up { status, topology: stack.topology()? })
    };
    match hub.connect().and_then(look) {
        Ok(look) => look,
        Err(error @ StackError::NotRunning { .. }) => Look::Down(error.to_string()),
        Err(error) => Look::Trouble(error.to_string()),
    }
}

fn watch_log(hub: &Hub) {
    let mut log: Option<(String, AccessLog)> = None;
    let mut next_try = Instant::now();
    while !hub.is_ending() {
        let start = Instant::now();
        let base_url = hub.look().status().map(|status| status.base_url.clone());
        if log.as_ref().map(|(of, _)| of) != base_url.as_ref() {
            log = None;
            if let Some(url) = base_url.filter(|_| start >= next_try) {
                next_try = start + SECOND;
                let follow = hub.connect().and_then(|stack| AccessLog::follow(&stack));
                log = follow.ok().map(|log| (url, log));
            }
        }
        let mut found = Traffic::default();
        let goes_on = log.as_mut().is_none_or(|(_, log)| log.read(&mut found));
        let lens = std::mem::take(&mut found.lens);
        hub.with_lens_lines(|lines| {
            lines.extend(lens);
            let surplus = lines.len().saturating_sub(LENS_LINES);
            lines.drain(..surplus);
        });
        hub.with_traffic(|traffic| match (&log, &mut *traffic) {
            (None, _) => *traffic = None,
            (Some(_), None) => *traffic = Some(found),
            (Some(_), Some(sum)) => sum.merge(found),
        });
        if !goes_on {
            log = None;
        }
        hub.sleep_until(start + LOG_EVERY);
    }
}

/// What is kept from one second to the next.
#[derive(Debug, Default)]
struct Sampler {
    before: BTreeMap<Target, Scrape>,
    processes: Processes,
    last: Option<Instant>,
}

impl Sampler {
    fn run(&mut self, hub: &Hub) {
        let mut next = Instant::now();
        while !hub.is_ending() {
            self.sample(hub);
            // A second that was missed is missed: no two samples at once.
            next = (next + hub.options.every).max(Instant::now());
            hub.sleep_until(next);
        }
    }

    fn sample(&mut self, hub: &Hub) {
        let look = hub.look();
        let readings = look.status().map(read_replicas).unwrap_or_default();
        let replicas: BTreeMap<Target, Replica> = readings
            .iter()
            .map(|(name, (scrape, draining))| (*name, Replica::read(self.before.get(name), scrape, *draining)))
            .collect();
        let traffic = hub.with_traffic(|traffic| traffic.as_mut().map(std::mem::take));
        let now = Instant::now();
        let seconds = self.last.replace(now).map_or(1.0, |last| (now - last).as_secs_f64());
        let view = View {
            now: OffsetDateTime::now_utc(),
            program: hub.options.program.clone(),
            is_read_only: hub.options.is_read_only,
            can_start: hub.options.up.is_some(),
            usage: look.status().map(|status| self.processes.look(&processes(status))).unwrap_or_default(),
            retried: traffic.as_ref().map_or(0.0, |traffic| f64::from(traffic.retried) / seconds),
            until: look.status().map(|status| until(hub, status)).unwrap_or_default(),
            events: hub.events.all(),
            load: hub.load.state(),
            lens: hub.lens(),
            run: hub.run(),
            busy: hub.busy(),
            held_by: look
                .status()
                .and_then(|status| status.session.clone())
                .filter(|by| by.pid() != std::process::id()),
            clients: Edge::default(),
            tour: Vec::new(),
            point: point(traffic, &replicas, &self.before, seconds, look.status().is_some()),
            replicas,
            look,
        };
        self.before = readings.into_iter().map(|(name, (scrape, _))| (name, scrape)).collect();
        publish(hub, view);
    }
}

fn publish(hub: &Hub, mut view: View) {
    let total = view.point.total();
    let failed = if total > 0.0 { view.point.failed() / total } else { 0.0 };
    view.clients = Edge { rate: total, failed, p95_ms: view.point.p95_ms };
    let mut history = hub.history();
    let id = history.push(view.point);
    if let Look::Up { status, topology } = &view.look {
        let load = view.load.as_ref();
        let facts = Facts {
            status,
            topology,
            point: &view.point,
            restart: hub.restart(),
            load: load.and_then(|load| load.last.as_ref()).map(|point| point.sent as f64 / point.seconds.max(1e-3)),
            has_curve: load.is_some_and(|load| matches!(load.order, Order::Curve(_))),
        };
        let points: Vec<Point> = history.points().copied().collect();
        hub.tour().advance(&facts, &points);
    }
    view.tour = hub.tour().state();
    let before = hub.frames.borrow().clone();
    let frame = Arc::new(Frame::new(id, &view, &before, &history));
    drop(history);
    hub.frames.send_replace(frame);
}

/// All at the same time: one that hangs costs its whole patience.
fn read_replicas(status: &Status) -> BTreeMap<Target, (Scrape, bool)> {
    let read = |url: String| -> Option<(Scrape, bool)> {
        let at = Instant::now();
        let answer = stack::get(&format!("{url}/metrics"), PATIENCE).ok().filter(|answer| answer.status == 200)?;
        let ready = stack::get(&format!("{url}/readyz"), PATIENCE).ok()?;
        Some((Scrape::parse(&answer.body, at), ready.status == 503))
    };
    thread::scope(|scope| {
        let is_asked = |state: State| matches!(state, State::Up | State::Starting);
        let replicas =
            status.replicas.iter().filter(|replica| is_asked(replica.server.state) && !replica.url.is_empty());
        let threads: Vec<_> =
            replicas.map(|replica| (replica.name, scope.spawn(|| read(replica.url.clone())))).collect();
        threads.into_iter().filter_map(|(name, thread)| Some((name, thread.join().ok()??))).collect()
    })
}

/// Those of the servers that are seen from outside only.
fn processes(status: &Status) -> Vec<(Target, u32)> {
    let is_other = |target: Target| !matches!(target, Target::Api(_));
    status.servers().filter_map(|(name, _, server)| Some((name, server.pid?)).filter(|_| is_other(name))).collect()
}

fn until(hub: &Hub, status: &Status) -> BTreeMap<u64, OffsetDateTime> {
    status.faults().filter_map(|fault| Some((fault.id, hub.hold.until(fault.id)?))).collect()
}

fn point(
    traffic: Option<Traffic>,
    replicas: &BTreeMap<Target, Replica>,
    before: &BTreeMap<Target, Scrape>,
    seconds: f64,
    is_up: bool,
) -> Point {
    let mut point = Point { at: history::seconds(OffsetDateTime::now_utc()), ..Point::default() };
    if let Some(mut traffic) = traffic {
        let rate = |count: u32| Some(f64::from(count) / seconds);
        point.good = rate(traffic.good);
        point.client_errors = rate(traffic.client_errors);
        point.refused = rate(traffic.refused);
        point.server_errors = rate(traffic.server_errors);
        point.gave_up = rate(traffic.gave_up);
        if let Some([p50, p95, p99]) = traffic.quantiles([0.5, 0.95, 0.99]) {
            (point.p50_ms, point.p95_ms, point.p99_ms) = (Some(p50), Some(p95), Some(p99));
        }
    }
    let mut cache = CacheResults::default();
    replicas.values().for_each(|replica| cache.add(replica.cache));
    if is_up && replicas.keys().any(|name| before.contains_key(name)) {
        let rate = |count: f64| Some(count / seconds);
        point.hit = rate(cache.hit);
        point.stale = rate(cache.stale);
        point.miss = rate(cache.miss + cache.other);
        point.bypass = rate(cache.bypass);
    }
    point
}
