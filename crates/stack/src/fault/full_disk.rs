//! Postgres has no room: an index for new and changed records, on a small file system that is full. A write that has to put
//! its record into that index meets the kernel's "no space left on device"; reads do not need it, and no record is there
//! that could be lost.

use serde_json::{Value, json};

use super::{database, injection::Site};
use crate::{StackError, sql::Sql};

const DISK_FULL: &str = "53100";

/// The name of both the index and its tablespace.
const NAME: &str = "lab_full_disk";

/// A bound on the wait for queries that have the table.
const LONGEST_WAIT: &str = "SET lock_timeout = '4s'";

/// Where the small file system will be.
pub(super) fn prepare(site: &Site<'_>) -> Result<Value, StackError> {
    database::check_table(site, "records")?;
    Ok(json!({ "path": site.driver.small_disk()? }))
}

pub(super) fn fill(site: &Site<'_>, undo: &Value) -> Result<String, StackError> {
    let path = undo["path"].as_str().unwrap_or_default().replace('\'', "''");
    site.driver.make_small_disk()?;
    let mut sql = database::as_admin(site)?;
    sql.run(&format!("CREATE TABLESPACE {NAME} LOCATION '{path}'"))?;
    // Empty: what was written before is not in it.
    let now = sql.text("SELECT clock_timestamp()::text")?;
    sql.run(LONGEST_WAIT)?;
    sql.run(&format!(
        "CREATE INDEX {NAME} ON records (id) TABLESPACE {NAME} WHERE updated_at >= '{now}'::timestamptz"
    ))?;
    // A recovery from a crash will not ask for what lies there.
    sql.run("CHECKPOINT")?;
    site.driver.fill_small_disk()?;
    Ok("no room for what is written to `records`".to_owned())
}

pub(super) fn is_full(site: &Site<'_>) -> Result<Option<String>, StackError> {
    let asked = database::as_application(site)??
        .run("BEGIN; INSERT INTO records (name, value) VALUES ('lab', 'a probe'); ROLLBACK");
    Ok(database::is_denied(asked, DISK_FULL)?.then(|| format!("a write is refused ({DISK_FULL})")))
}

pub(super) fn make_room(site: &Site<'_>) -> Result<String, StackError> {
    drop_index(&mut database::as_admin(site)?)?;
    site.driver.remove_small_disk()?;
    match is_full(site)? {
        None => Ok("room as before".to_owned()),
        Some(_) => Err(StackError::Conflict("postgres: its own disk is full".to_owned())),
    }
}

/// Also where the small file system is gone.
pub(super) fn drop_index(sql: &mut Sql) -> Result<(), StackError> {
    sql.run(LONGEST_WAIT)?;
    sql.run(&format!("DROP INDEX IF EXISTS {NAME}"))?;
    sql.run(&format!("DROP TABLESPACE IF EXISTS {NAME}"))?;
    Ok(())
}
