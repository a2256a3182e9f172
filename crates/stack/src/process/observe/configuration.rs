//! The configuration of Prometheus: the scrape targets, their names, and the project's rules.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use super::{Observer, Ports, pace::Pace};
use crate::{
    StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
    process::ProcessRecord,
};

/// The same intervals and job names as in `deploy/prometheus/prometheus.yml`. Exporters are scraped less often: each
/// scrape runs a dozen statements in Postgres. JSON is YAML.
pub(super) fn write(folder: &Folder, record: &ProcessRecord, ports: &Ports, pace: Pace) -> Result<(), StackError> {
    let home = folder.observe();
    copy_rules(folder, record, pace)?;
    write_replicas(folder, record)?;
    let fixed = |job: &str, address: String| {
        json!({
            "job_name": job,
            "scrape_interval": "5s",
            "scrape_timeout": "2s",
            "static_configs": [{ "targets": [address], "labels": { "instance": job } }],
        })
    };
    let mut jobs = vec![json!({
        "job_name": "api",
        "file_sd_configs": [{ "files": ["replicas.json"], "refresh_interval": "2s" }],
        "relabel_configs": [{ "source_labels": ["__address__"], "target_label": "address" }],
    })];
    for (observer, port) in ports {
        let job = match observer {
            Observer::NginxExporter => "nginx",
            Observer::PostgresExporter => "postgres",
            Observer::RedisExporter => "redis",
            Observer::Prometheus => "prometheus",
        };
        jobs.push(fixed(job, format!("127.0.0.1:{port}")));
    }
    let reading = pace.reading();
    let configuration = json!({
        "global": {
            "scrape_interval": format!("{}ms", reading.as_millis()),
            "scrape_timeout": format!("{}ms", reading.mul_f64(0.9).as_millis()),
            "evaluation_interval": format!("{}ms", reading.as_millis()),
        },
        "rule_files": ["rules/*.yml"],
        "scrape_configs": jobs,
    });
    write_private(&home.join("prometheus.yml"), &format!("{configuration:#}"))
}

/// Copies, so that a `*` in a path is not read as a pattern, and so that an experiment can replace them.
fn copy_rules(folder: &Folder, record: &ProcessRecord, pace: Pace) -> Result<(), StackError> {
    let from = record.project.root().join("deploy/prometheus/rules");
    let to = folder.observe().join("rules");
    fs::create_dir_all(&to).context(|| cannot("create", &to))?;
    for file in fs::read_dir(&from).context(|| cannot("read", &from))?.flatten() {
        if file.path().extension().is_some_and(|extension| extension == "yml") {
            let text = match pace.day {
                Some(day) if file.file_name() == "slo.yml" => objectives(record, day)?,
                _ => pace.rules(&fs::read_to_string(file.path()).context(|| cannot("read", file.path()))?),
            };
            let path = to.join(file.file_name());
            fs::write(&path, text).context(|| cannot("write", &path))?;
        }
    }
    Ok(())
}

/// The rules of the objectives, with windows of a day of this length.
fn objectives(record: &ProcessRecord, day: Duration) -> Result<String, StackError> {
    let script = record.project.root().join("deploy/prometheus/slo-rules.sh");
    let day = format!("{}s", day.as_secs().max(1));
    let output = Command::new("bash").arg(&script).args(["--day", &day]).stdin(Stdio::null()).output();
    let output = output.context(|| cannot("run", &script))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(StackError::Conflict(format!("{} failed ({}): {said}", script.display(), output.status)))
}

/// The replicas by name: `instance` is the name that they use in headers and logs.
pub(super) fn write_replicas(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    let target = |name: Target| json!({ "targets": [format!("127.0.0.1:{}", record.port(name))], "labels": { "instance": name.to_string() } });
    let replicas: Vec<_> = record.replicas().map(target).collect();
    write_private(&folder.observe().join("replicas.json"), &format!("{:#}", json!(replicas)))
}
