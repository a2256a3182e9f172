//! Processes that outlive the lab and are never lost: started so that their number is on disk before they run, found again
//! with all their workers, ended in good order. Both drivers stand on this; it knows neither.

pub(crate) mod launch;
pub(crate) mod ports;
pub(crate) mod process_tree;
pub(crate) mod random;
pub(crate) mod stop;
pub(crate) mod table;
pub(crate) mod task;
