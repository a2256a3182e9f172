//! A replica of the API: its environment is all it is told.

use super::{ProcessRecord, cpu_quota, launch::Launch, postgres, proxies, redis};
use crate::{StackError, Target, folder::Folder};

pub(super) fn launch(folder: &Folder, record: &ProcessRecord, number: u32) -> Result<Launch, StackError> {
    let name = Target::Api(number);
    let mut launch = Launch::new(name, &record.programs.api, folder.root()).arguments(["serve"]);
    let seen = proxies::as_replicas_see_it(record);
    launch.environment = environment(folder, &seen, name, record.port(name))?;
    launch.cpu_group = record.topology.cpus.map(|cpus| cpu_quota::prepare(folder, name, cpus)).transpose()?;
    Ok(launch)
}

/// The one-off that brings the schema and the demo records.
pub(super) fn migration(folder: &Folder, record: &ProcessRecord) -> Result<Launch, StackError> {
    let mut launch = Launch::new("migrate", &record.programs.api, folder.root()).arguments(["migrate"]);
    launch.environment = environment(folder, record, Target::Api(1), record.port(Target::Api(1)))?;
    Ok(launch)
}

fn environment(
    folder: &Folder,
    record: &ProcessRecord,
    name: Target,
    port: u16,
) -> Result<Vec<(String, String)>, StackError> {
    let mut environment = vec![
        ("LISTEN_ADDR".to_owned(), format!("127.0.0.1:{port}")),
        ("INSTANCE_NAME".to_owned(), name.to_string()),
        ("DATABASE_URL".to_owned(), postgres::url(folder, record)?),
        ("REDIS_URL".to_owned(), redis::url(folder, record)?),
    ];
    environment.extend(record.topology.phase.map(|phase| ("PHASE".to_owned(), phase.to_string())));
    // Last, so that the user has the last word.
    environment.extend(record.topology.env.iter().cloned());
    Ok(environment)
}
