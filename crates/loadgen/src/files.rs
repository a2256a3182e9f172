//! Text files that are read whole, each with a bound on what may be in it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::LoadError;

/// Without a bound, a device or a wrong file is read until the memory is full.
pub(crate) const MAX_RESULT: u64 = 256 << 20;
pub(crate) const MAX_WORKLOAD: u64 = 4 << 20;
/// A body is sent with every request.
pub(crate) const MAX_BODY: u64 = 16 << 20;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, LoadError> {
    let text = File::open(path).and_then(|file| read_from(file, limit));
    text.map_err(|source| LoadError::Io { verb: "read", path: path.to_owned(), source })
}

/// Reads all of `source`, which may hold at most `limit` bytes.
pub(crate) fn read_from(source: impl io::Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    source.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} MiB", limit >> 20)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused() {
        let endless = read(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert!(endless.to_string().ends_with("longer than 1 MiB"), "{endless}");
        assert_eq!(read_from(&b"ab"[..], 2).unwrap(), "ab");
        assert!(read_from(&b"abc"[..], 2).is_err());
    }
}
