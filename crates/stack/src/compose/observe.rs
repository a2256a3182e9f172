//! Monitoring of the stack: Prometheus, from the compose file's profile. Grafana belongs to that profile too and is
//! started only by `docker compose --profile observability up`.

use std::{collections::BTreeMap, time::Duration};

use super::{ComposeRecord, up};
use crate::{Operation, StackError, folder::Folder, http, supervise::ports::Choice};

pub(super) const PROFILE: &str = "observability";

/// Enough to pull its image over a slow connection.
const LONGEST_START: Duration = Duration::from_secs(600);
const LONGEST_READY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_millis(500);

/// Returns a line for each problem. The stack runs without Prometheus too.
pub(super) fn start(
    folder: &Folder,
    record: &mut ComposeRecord,
    operation: &Operation<'_>,
) -> Result<Vec<String>, StackError> {
    let lease = if record.port >= 20_000 { Choice::Random.lease(0)? } else { Choice::FromUsual.lease(9090)? };
    record.prometheus_port = Some(lease.port);
    // Saved before the start, so that a `down` after a crash knows the port.
    record.save(folder)?;
    operation.progress.begin("starting prometheus");
    let words = ["--profile", PROFILE, "up", "--detach", "--no-recreate", "--no-deps", "prometheus"];
    let started = up::run(folder, record, &words, LONGEST_START, operation);
    drop(lease);
    let ready = match started {
        Err(error @ StackError::Interrupted) => return Err(error),
        Err(error) => Err(error.to_string()),
        Ok(()) => {
            let answered = operation.interrupt.wait_for(LONGEST_READY, || Ok(is_ready(record).then_some(())))?;
            answered.ok_or_else(|| "it did not answer in time; see `docker compose logs prometheus`".to_owned())
        }
    };
    operation.progress.end(ready.as_ref().map_or("failed", |()| "done"));
    Ok(ready.err().map(|reason| format!("prometheus does not run: {reason}")).into_iter().collect())
}

pub(super) fn addresses(record: &ComposeRecord) -> BTreeMap<String, String> {
    let prometheus = is_ready(record).then(|| url(record)).flatten();
    prometheus.map(|url| ("prometheus".to_owned(), url)).into_iter().collect()
}

fn url(record: &ComposeRecord) -> Option<String> {
    record.prometheus_port.map(|port| format!("http://127.0.0.1:{port}"))
}

fn is_ready(record: &ComposeRecord) -> bool {
    url(record)
        .is_some_and(|url| http::get(&format!("{url}/-/ready"), PATIENCE).is_ok_and(|answer| answer.status == 200))
}
