//! Stopping a stack of this driver.

use super::{ProcessRecord, control_group, launch, packet_filter, postgres, small_disk, table};
use crate::{
    Operation, StackError,
    folder::Folder,
    record::{Record, Stage},
    supervise::stop::stop_all,
};

/// Stops everything that was started in the folder, with or without a record. True if there was anything to stop.
pub(super) fn stop(folder: &Folder, record: Option<&Record>, operation: &Operation<'_>) -> Result<bool, StackError> {
    let known: Option<ProcessRecord> = record.and_then(|record| record.part(folder).ok());
    if let Some(record) = record {
        record.clone().at(Stage::Stopping).save(folder)?;
    }
    if known.as_ref().is_some_and(|known| known.boot_id != table::boot_id()) {
        launch::names(folder)?.iter().for_each(|name| launch::forget(folder, name));
    }
    let found = stop_all(folder, operation)?;
    postgres::sweep(folder);
    control_group::remove(folder);
    small_disk::remove(folder)?;
    // Last, since it may not be permitted to this user: then the record stays and says what is left to do.
    packet_filter::open_all(folder)?;
    Record::remove(folder)?;
    Ok(found || record.is_some())
}
