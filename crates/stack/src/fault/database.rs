//! Faults inside Postgres.

use std::time::Duration;

use serde_json::{Value, json};

use super::{FaultKind, full_disk, held, injection::Site};
use crate::{
    Login, StackError,
    agent::AgentTask,
    driver,
    sql::{Sql, SqlError},
};

/// SQLSTATE: the lock is not available now.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const TOO_MANY_CONNECTIONS: &str = "53300";
const READ_ONLY_TRANSACTION: &str = "25006";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// A lock ends with the connection that holds it; Postgres notices within milliseconds.
const LONGEST_UNLOCK: Duration = Duration::from_secs(10);

pub(super) fn as_admin(site: &Site<'_>) -> Result<Sql, StackError> {
    Ok(Sql::connect(&driver::url(site.driver, Login::PostgresAdmin)?)?)
}

pub(super) fn as_application(site: &Site<'_>) -> Result<Result<Sql, SqlError>, StackError> {
    let url = driver::url(site.driver, Login::Postgres)?;
    Ok(Sql::connect(&url))
}

/// The user of the replicas, checked for use in a statement.
fn user(site: &Site<'_>) -> Result<String, StackError> {
    let url = driver::url(site.driver, Login::Postgres)?;
    let user = url.split("://").nth(1).and_then(|rest| rest.split([':', '@']).next()).unwrap_or_default();
    if user.is_empty() || user.contains(['"', '\'', '\\', '%']) {
        return Err(StackError::Usage(format!(
            "faults cannot use the Postgres user `{user}`: the name is empty or contains a quote, a backslash or a percent sign"
        )));
    }
    Ok(user.to_owned())
}

/// Whether a statement fails in exactly this way.
pub(super) fn is_denied(result: Result<(), SqlError>, state: &str) -> Result<bool, StackError> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if error.state.as_deref() == Some(state) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn check_table(site: &Site<'_>, table: &str) -> Result<Value, StackError> {
    let found = as_admin(site)?.text(&format!("SELECT to_regclass('\"{table}\"')::text"))?;
    if found.is_empty() {
        return Err(StackError::Usage(format!("there is no table `{table}`")));
    }
    Ok(Value::Null)
}

pub(super) fn check_row(site: &Site<'_>, table: &str, row: i64) -> Result<Value, StackError> {
    check_table(site, table)?;
    let found = as_admin(site)?.text(&format!("SELECT 'yes' FROM \"{table}\" WHERE id = {row}"))?;
    if found.is_empty() {
        return Err(StackError::Conflict(format!("`{table}` has no row with the id {row}")));
    }
    Ok(Value::Null)
}

pub(super) fn lock_table(site: &Site<'_>, id: u64, table: &str) -> Result<String, StackError> {
    let statement = format!("LOCK TABLE \"{table}\" IN ACCESS EXCLUSIVE MODE");
    held::begin(site, id, &AgentTask::HoldLock { url: driver::url(site.driver, Login::PostgresAdmin)?, statement })?;
    Ok(format!("the table `{table}` is locked"))
}

pub(super) fn is_table_locked(site: &Site<'_>, table: &str) -> Result<Option<String>, StackError> {
    let asked = as_admin(site)?.run(&format!("BEGIN; LOCK TABLE \"{table}\" IN ACCESS SHARE MODE NOWAIT"));
    Ok(is_denied(asked, LOCK_NOT_AVAILABLE)?.then(|| format!("a read cannot get its lock ({LOCK_NOT_AVAILABLE})")))
}

pub(super) fn lock_row(site: &Site<'_>, id: u64, table: &str, row: i64) -> Result<String, StackError> {
    let statement = format!("SELECT 1 FROM \"{table}\" WHERE id = {row} FOR UPDATE");
    held::begin(site, id, &AgentTask::HoldLock { url: driver::url(site.driver, Login::PostgresAdmin)?, statement })?;
    Ok(format!("the row {row} of `{table}` is locked"))
}

pub(super) fn is_row_locked(site: &Site<'_>, table: &str, row: i64) -> Result<Option<String>, StackError> {
    let asked = as_admin(site)?.run(&format!("SELECT 1 FROM \"{table}\" WHERE id = {row} FOR UPDATE NOWAIT"));
    Ok(is_denied(asked, LOCK_NOT_AVAILABLE)?.then(|| format!("a write cannot get its lock ({LOCK_NOT_AVAILABLE})")))
}

pub(super) fn await_unlocked(site: &Site<'_>, kind: &FaultKind) -> Result<String, StackError> {
    let is_locked = || match kind {
        FaultKind::LockTable { table } => is_table_locked(site, table),
        FaultKind::LockRow { table, row } => is_row_locked(site, table, *row),
        _ => Ok(None),
    };
    let free = site.operation.interrupt.wait_for(LONGEST_UNLOCK, || Ok(is_locked()?.is_none().then_some(())))?;
    free.map(|()| "unlocked".to_owned())
        .ok_or_else(|| StackError::Conflict("postgres: the lock is still held, by another session".to_owned()))
}

/// The limit before the fault.
pub(super) fn connection_limit(site: &Site<'_>) -> Result<Value, StackError> {
    let user = user(site)?;
    let query = format!("SELECT rolconnlimit::text || ' ' || rolsuper::text FROM pg_roles WHERE rolname = '{user}'");
    let found = as_admin(site)?.text(&query)?;
    match found.split_once(' ') {
        Some((limit, "false")) => Ok(json!({ "user": user, "limit": limit.parse::<i32>().unwrap_or(-1) })),
        Some(_) => Err(StackError::Usage(format!(
            "the replicas use the superuser `{user}`, whose connections Postgres does not limit"
        ))),
        None => Err(StackError::Conflict(format!("Postgres knows no user `{user}`"))),
    }
}

/// Existing connections count against the new limit, but only new ones are refused: so the existing ones are
/// terminated.
pub(super) fn limit_connections(site: &Site<'_>, most: u32) -> Result<String, StackError> {
    let user = user(site)?;
    as_admin(site)?.run(&format!("ALTER ROLE \"{user}\" CONNECTION LIMIT {most}"))?;
    let ended = end(site)?;
    Ok(format!("`{user}` limited to {most} connections, {ended} terminated"))
}

pub(super) fn are_connections_limited(site: &Site<'_>, most: u32) -> Result<Option<String>, StackError> {
    let mut open = Vec::new();
    for _ in 0..=most {
        match as_application(site)? {
            Ok(connection) => open.push(connection),
            Err(error) if error.state.as_deref() == Some(TOO_MANY_CONNECTIONS) => {
                return Ok(Some(format!("one more connection is refused ({TOO_MANY_CONNECTIONS})")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

pub(super) fn restore_connection_limit(site: &Site<'_>, undo: &Value) -> Result<String, StackError> {
    restore_limit(&mut as_admin(site)?, undo)
}

fn restore_limit(sql: &mut Sql, undo: &Value) -> Result<String, StackError> {
    let (user, limit) = (undo["user"].as_str().unwrap_or_default(), undo["limit"].as_i64().unwrap_or(-1));
    sql.run(&format!("ALTER ROLE \"{user}\" CONNECTION LIMIT {limit}"))?;
    Ok("connection limit restored".to_owned())
}

pub(super) fn end_connections(site: &Site<'_>) -> Result<String, StackError> {
    Ok(format!("{} connections terminated", end(site)?))
}

/// Terminates the replicas' connections and waits until Postgres has none of them. Returns their number.
fn end(site: &Site<'_>) -> Result<String, StackError> {
    let mine = format!("usename = '{}' AND pid <> pg_backend_pid() AND application_name <> 'lab'", user(site)?);
    let mut admin = as_admin(site)?;
    let before = admin.text("SELECT clock_timestamp()::text")?;
    let there = admin
        .text(&format!("SELECT count(pg_terminate_backend(pid, 8000))::text FROM pg_stat_activity WHERE {mine}"))?;
    // Not what `pg_terminate_backend` returns: it is false for a connection that its client closed a moment earlier.
    let left = admin.text(&format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE {mine} AND backend_start <= '{before}'::timestamptz"
    ))?;
    match left.as_str() {
        "0" => Ok(there),
        _ => Err(StackError::Conflict(format!("postgres: {left} of {there} connections are still open"))),
    }
}

/// Applies to the whole server at once: existing sessions follow with their next transaction, as after a failover.
pub(super) fn make_read_only(site: &Site<'_>) -> Result<String, StackError> {
    let mut sql = as_admin(site)?;
    sql.run("ALTER SYSTEM SET default_transaction_read_only = on")?;
    sql.run("SELECT pg_reload_conf()::text")?;
    Ok("read-only".to_owned())
}

pub(super) fn is_read_only(site: &Site<'_>) -> Result<Option<String>, StackError> {
    // The statement is refused before it runs, and has no effect otherwise; the replicas' user may also lack the
    // privilege.
    let asked = as_application(site)??.run("CREATE TABLE lab_probe (); DROP TABLE lab_probe");
    if asked.as_ref().is_err_and(|error| error.state.as_deref() == Some(INSUFFICIENT_PRIVILEGE)) {
        return Ok(None);
    }
    Ok(is_denied(asked, READ_ONLY_TRANSACTION)?.then(|| format!("a write is refused ({READ_ONLY_TRANSACTION})")))
}

pub(super) fn make_writable(site: &Site<'_>) -> Result<String, StackError> {
    reset_read_only(&mut as_admin(site)?)?;
    let writable = || Ok(is_read_only(site)?.is_none().then_some(()));
    let followed = site.operation.interrupt.wait_for(LONGEST_UNLOCK, writable)?;
    followed
        .map(|()| "writable".to_owned())
        .ok_or_else(|| StackError::Conflict("postgres: it stays read-only for another reason".to_owned()))
}

fn reset_read_only(sql: &mut Sql) -> Result<(), StackError> {
    sql.run("ALTER SYSTEM RESET default_transaction_read_only")?;
    Ok(sql.run("SELECT pg_reload_conf()::text")?)
}

fn type_of(sql: &mut Sql, table: &str, column: &str) -> Result<String, StackError> {
    let found = sql.text(&format!(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = to_regclass('\"{table}\"') AND attname = '{column}' AND NOT attisdropped"
    ))?;
    if found.is_empty() {
        return Err(StackError::Usage(format!("there is no column `{table}.{column}`")));
    }
    Ok(found)
}

/// As it is before the fault.
pub(super) fn column_type(site: &Site<'_>, table: &str, column: &str, to: &str) -> Result<Value, StackError> {
    let mut sql = as_admin(site)?;
    let before = type_of(&mut sql, table, column)?;
    let wanted = sql.text(&format!("SELECT format_type('{to}'::regtype, NULL)"))?;
    if before == wanted {
        return Err(StackError::Conflict(format!("postgres: `{table}.{column}` is of the type {wanted} already")));
    }
    Ok(json!({ "table": table, "column": column, "type": before }))
}

/// Waits for those who use the table at this moment, like every change of a table.
pub(super) fn alter_column(site: &Site<'_>, table: &str, column: &str, to: &str) -> Result<String, StackError> {
    as_admin(site)?.run(&format!("ALTER TABLE \"{table}\" ALTER \"{column}\" TYPE {to} USING \"{column}\"::{to}"))?;
    Ok(format!("`{table}.{column}` is {to} now"))
}

pub(super) fn is_altered(
    site: &Site<'_>,
    table: &str,
    column: &str,
    undo: &Value,
) -> Result<Option<String>, StackError> {
    let found = type_of(&mut as_application(site)??, table, column)?;
    Ok((Some(found.as_str()) != undo["type"].as_str()).then(|| format!("the replicas' user finds the type {found}")))
}

pub(super) fn restore_column(site: &Site<'_>, undo: &Value) -> Result<String, StackError> {
    restore_type(&mut as_admin(site)?, undo)
}

fn restore_type(sql: &mut Sql, undo: &Value) -> Result<String, StackError> {
    let word = |name: &str| undo[name].as_str().unwrap_or_default();
    let (table, column, before) = (word("table"), word("column"), word("type"));
    sql.run(&format!("ALTER TABLE \"{table}\" ALTER \"{column}\" TYPE {before} USING \"{column}\"::{before}"))?;
    Ok(format!("`{table}.{column}` is {before} again"))
}

/// Undoes a fault that an earlier stack left in the data. `url` is the superuser's.
pub(super) fn repair(url: &str, kind: &FaultKind, undo: &Value) -> Result<(), StackError> {
    let mut sql = Sql::connect(url)?;
    match kind {
        FaultKind::LimitConnections { .. } => restore_limit(&mut sql, undo).map(drop),
        FaultKind::ReadOnly => reset_read_only(&mut sql),
        FaultKind::AlterColumn { .. } => restore_type(&mut sql, undo).map(drop),
        FaultKind::FullDisk => full_disk::drop_index(&mut sql),
        _ => Ok(()),
    }
}
