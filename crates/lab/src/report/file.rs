//! The files of a report. Each is marked as written by the lab, and only a marked file is ever replaced.

use std::{fs, io::ErrorKind, path::Path};

use super::ReportError;

/// In the head of every page.
pub(super) const HTML_MARK: &str = "<meta name=\"generator\" content=\"lab report\">";
/// The first line of every Markdown file.
pub(super) const MARKDOWN_MARK: &str = "<!-- written by lab report -->";
/// At the beginning of the XML file.
pub(super) const XML_MARK: &str = "<!-- written by lab report -->";
/// The mark is within this many bytes.
const HEAD: usize = 1_024;

/// # Errors
/// There is a file of this name that the lab has not written.
pub(super) fn check(path: &Path) -> Result<(), ReportError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ReportError::Read { path: path.to_owned(), source }),
        Ok(bytes) => {
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]).into_owned();
            let is_ours =
                bytes.is_empty() || [HTML_MARK, MARKDOWN_MARK, XML_MARK].iter().any(|mark| head.contains(mark));
            if is_ours { Ok(()) } else { Err(ReportError::NotOurs { path: path.to_owned() }) }
        }
    }
}

/// Writes a file atomically: a reader gets the old one or the new one.
///
/// # Errors
/// The file was not written by the lab, or cannot be written.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), ReportError> {
    check(path)?;
    let failed = |source| ReportError::Write { path: path.to_owned(), source };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&beside);
        failed(source)
    })
}
