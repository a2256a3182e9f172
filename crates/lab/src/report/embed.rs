//! The journal embedded in its report: compressed, as a link that saves it.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};

/// The largest embedded journal, in compressed bytes. A larger page would be slow to open and to send.
const MOST: usize = 900_000;

/// Which part of a journal is in the page.
pub(super) struct Embedded {
    /// For `href`.
    pub(super) link: String,
    /// Compressed, in bytes.
    pub(super) size: usize,
    /// Without the points that were written while the load ran; the load's own report contains them.
    pub(super) is_thinned: bool,
}

/// `None`: it is too large, and stays next to the page.
pub(super) fn journal(text: &str) -> Option<Embedded> {
    let whole = compressed(text)?;
    if whole.len() <= MOST {
        return Some(embedded(&whole, false));
    }
    // If the load has no report, only the points describe it.
    let has_report = text.lines().any(|line| line.starts_with(r#"{"entry":"load""#));
    let kept = text.lines().filter(|line| !has_report || !line.starts_with(r#"{"entry":"point""#));
    let thinned = compressed(&kept.flat_map(|line| [line, "\n"]).collect::<String>())?;
    (has_report && thinned.len() <= MOST).then(|| embedded(&thinned, true))
}

fn embedded(bytes: &[u8], is_thinned: bool) -> Embedded {
    let link = format!("data:application/gzip;base64,{}", STANDARD.encode(bytes));
    Embedded { link, size: bytes.len(), is_thinned }
}

fn compressed(text: &str) -> Option<Vec<u8>> {
    // Writing to memory, with a header without a time: the same journal gives the same page.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}
