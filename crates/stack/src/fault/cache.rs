//! Faults inside Redis.

use std::time::Duration;

use redis::{Commands, Connection, RedisError};
use serde_json::{Value, json};

use super::{held, injection::Site};
use crate::{Login, StackError, agent::AgentTask, driver};

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// A working Redis answers in a tenth of a millisecond.
const SILENT_AFTER: Duration = Duration::from_millis(300);
/// The slices of a pause are shorter.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No key of the API has this prefix.
const MARK: &str = "lab:mark";

fn url(site: &Site<'_>) -> Result<String, StackError> {
    driver::url(site.driver, Login::RedisAdmin)
}

fn failed(what: &str) -> impl Fn(RedisError) -> StackError {
    move |error| StackError::Command { command: format!("redis: {what}"), detail: error.to_string() }
}

fn open(url: &str, within: Duration) -> Result<Connection, RedisError> {
    let connection = redis::Client::open(url)?.get_connection_with_timeout(within)?;
    connection.set_read_timeout(Some(within))?;
    Ok(connection)
}

fn connect(site: &Site<'_>) -> Result<Connection, StackError> {
    open(&url(site)?, ANSWERS_WITHIN).map_err(failed("connect"))
}

fn setting(connection: &mut Connection, name: &str) -> Result<String, StackError> {
    let found: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg(name).query(connection).map_err(failed("CONFIG GET"))?;
    Ok(found.into_iter().nth(1).unwrap_or_default())
}

fn set(connection: &mut Connection, name: &str, value: &str) -> Result<(), StackError> {
    redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(connection).map_err(failed("CONFIG SET"))
}

pub(super) fn pause_clients(site: &Site<'_>, id: u64) -> Result<String, StackError> {
    held::begin(site, id, &AgentTask::PauseClients { url: url(site)? })?;
    Ok("clients paused".to_owned())
}

pub(super) fn is_silent(site: &Site<'_>) -> Result<Option<String>, StackError> {
    let asked =
        open(&url(site)?, SILENT_AFTER).and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
    match asked {
        Ok(_) => Ok(None),
        Err(error) if error.is_timeout() => Ok(Some("PING is not answered".to_owned())),
        Err(error) => Err(failed("PING")(error)),
    }
}

pub(super) fn await_answer(site: &Site<'_>) -> Result<String, StackError> {
    let answers = || Ok(is_silent(site)?.is_none().then_some(()));
    let answered = site.operation.interrupt.wait_for(LONGEST_PAUSE, answers)?;
    answered
        .map(|()| "clients are served again".to_owned())
        .ok_or_else(|| StackError::Conflict("redis: it does not answer, for another reason".to_owned()))
}

/// The settings before the fault. Refuses a limit that is above the current use.
pub(super) fn memory_settings(site: &Site<'_>, bytes: u64) -> Result<Value, StackError> {
    let mut connection = connect(site)?;
    let info: String = redis::cmd("INFO").arg("memory").query(&mut connection).map_err(failed("INFO"))?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
    if let Some(used) = used.filter(|used| *used <= bytes) {
        return Err(StackError::Conflict(format!(
            "Redis uses {used} bytes, so a limit of {bytes} bytes has no effect; choose a limit below that"
        )));
    }
    let (limit, policy) = (setting(&mut connection, "maxmemory")?, setting(&mut connection, "maxmemory-policy")?);
    Ok(json!({ "maxmemory": limit, "maxmemory-policy": policy }))
}

pub(super) fn limit_memory(site: &Site<'_>, bytes: u64) -> Result<String, StackError> {
    let mut connection = connect(site)?;
    set(&mut connection, "maxmemory-policy", "noeviction")?;
    set(&mut connection, "maxmemory", &bytes.to_string())?;
    Ok(format!("memory limited to {bytes} bytes"))
}

pub(super) fn is_out_of_memory(site: &Site<'_>) -> Result<Option<String>, StackError> {
    let asked: Result<(), RedisError> = connect(site)?.set_ex(MARK, "", 1);
    match asked {
        Ok(()) => Ok(None),
        Err(error) if error.code() == Some("OOM") => Ok(Some("a write is refused (OOM)".to_owned())),
        Err(error) => Err(failed("SET")(error)),
    }
}

pub(super) fn restore_memory(site: &Site<'_>, undo: &Value) -> Result<String, StackError> {
    let mut connection = connect(site)?;
    for name in ["maxmemory", "maxmemory-policy"] {
        if let Some(value) = undo[name].as_str() {
            set(&mut connection, name, value)?;
        }
    }
    Ok("memory limit restored".to_owned())
}

/// Sets a marker key; its absence proves the flush.
pub(super) fn leave_mark(site: &Site<'_>) -> Result<Value, StackError> {
    let marked: Result<(), RedisError> = connect(site)?.set_ex(MARK, "", 60);
    marked.map_err(failed("SET"))?;
    Ok(Value::Null)
}

pub(super) fn flush(site: &Site<'_>) -> Result<String, StackError> {
    let mut connection = connect(site)?;
    let entries: u64 = redis::cmd("DBSIZE").query(&mut connection).map_err(failed("DBSIZE"))?;
    let () = redis::cmd("FLUSHALL").query(&mut connection).map_err(failed("FLUSHALL"))?;
    // The marker is one of them.
    Ok(format!("{} entries deleted", entries.saturating_sub(1)))
}

pub(super) fn is_mark_gone(site: &Site<'_>) -> Result<Option<String>, StackError> {
    let there: bool = connect(site)?.exists(MARK).map_err(failed("EXISTS"))?;
    Ok((!there).then(|| "the marker key is gone".to_owned()))
}

/// Bytes that are no entry of any version.
const JUNK: &str = "\u{1}this is no entry";

/// Keeps the key's time to live: an entry that goes on being kept is what is to be found broken.
pub(super) fn corrupt(site: &Site<'_>, key: &str) -> Result<String, StackError> {
    let mut connection = connect(site)?;
    let set: Option<String> =
        redis::cmd("SET").arg(key).arg(JUNK).arg("XX").arg("KEEPTTL").query(&mut connection).map_err(failed("SET"))?;
    set.map(|_| format!("junk stands under `{key}`"))
        .ok_or_else(|| StackError::Conflict(format!("redis: there is nothing under `{key}` to corrupt")))
}
