//! Processes that outlive the lab and are never lost: their pid is on disk before they run, they are found again with
//! all their workers, and they are stopped cleanly. Both drivers use this module; it depends on neither.

pub(crate) mod launch;
pub(crate) mod ports;
pub(crate) mod process_tree;
pub(crate) mod random;
pub(crate) mod stop;
pub(crate) mod table;
pub(crate) mod task;
