//! The reports of runs as pages: that of the last run on this stack, and those of the runs in the same folder with their index.
//! Nothing else of the folder is served.

use std::path::{Path, PathBuf};

use axum::{
    extract::{Path as InPath, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{hub::Hub, problem::Problem, security};

const REPORT: &str = "report.html";
const INDEX: &str = "index.html";

pub(super) async fn get_last(State(hub): State<Hub>) -> Result<Response, Problem> {
    let path = hub.run().and_then(|run| run.report.clone());
    page(path.ok_or_else(|| none("No run on this stack has left a report."))?).await
}

pub(super) async fn get_index(State(hub): State<Hub>) -> Result<Response, Problem> {
    page(folder(&hub)?.join(INDEX)).await
}

/// By its path in the folder, as the index links to it.
pub(super) async fn get_report(State(hub): State<Hub>, InPath(path): InPath<String>) -> Result<Response, Problem> {
    let folder = folder(&hub)?;
    let found = tokio::task::spawn_blocking(move || inside(&folder, &path)).await.ok().flatten();
    page(found.ok_or_else(|| none("There is no such report."))?).await
}

fn folder(hub: &Hub) -> Result<PathBuf, Problem> {
    let folder = hub.run().and_then(|run| run.reports.clone());
    folder.ok_or_else(|| none("No run on this stack has left an index of reports."))
}

/// A report below the folder, wherever its path and links lead. `None`: it is none, or elsewhere.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let path = folder.join(path).canonicalize().ok()?;
    let is_report = path.file_name().is_some_and(|name| name == REPORT);
    (is_report && path.starts_with(&folder)).then_some(path)
}

async fn page(path: PathBuf) -> Result<Response, Problem> {
    let text =
        tokio::fs::read(&path).await.map_err(|error| none(&format!("cannot read {}: {error}", path.display())))?;
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, security::REPORT_CSP)];
    Ok((headers, text).into_response())
}

fn none(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_report", detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reports_of_the_folder_are_served() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("reports");
        let run = folder.join("redis-pause").join("2026-11-25T08-30-00Z");
        std::fs::create_dir_all(&run).unwrap();
        let files = [run.join(REPORT), run.join("journal.ndjson"), place.path().join(REPORT)];
        files.iter().for_each(|file| std::fs::write(file, "").unwrap());
        std::os::unix::fs::symlink(&files[2], folder.join(REPORT)).unwrap();
        let served = |path: &str| inside(&folder, path);
        assert_eq!(served("redis-pause/2026-11-25T08-30-00Z/report.html"), Some(files[0].canonicalize().unwrap()));
        let elsewhere = files[2].display().to_string();
        for path in ["redis-pause/2026-11-25T08-30-00Z/journal.ndjson", "../report.html", "report.html", "", &elsewhere]
        {
            assert_eq!(served(path), None, "{path}");
        }
    }
}
