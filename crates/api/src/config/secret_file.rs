//! Secrets from files: `NAME_FILE` holds the path, the file holds the value.

use std::{fs::File, io::Read, path::Path};

/// Longer than any password or URL. It prevents reading a device or a log to its end.
const LONGEST: u64 = 4 * 1024;

/// The only line of a file, without its line ending.
///
/// # Errors
/// Returns what is wrong with the file, never its content.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let reason = |error: std::io::Error| error.to_string();
    // Checked before opening, because opening a pipe blocks until another process opens it for writing.
    if !std::fs::metadata(path).map_err(reason)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut text)).map_err(reason)?;
    if text.len() as u64 > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let text = String::from_utf8(text).map_err(|_| "is not UTF-8 text".to_owned())?;
    let text = text.trim_end_matches(['\r', '\n']);
    match text {
        "" => Err("is empty".to_owned()),
        text if text.contains(['\r', '\n', '\0']) => Err("has more than one line".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_the_secret_and_anything_else_is_refused_by_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let read_back = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            read(&path)
        };
        for content in ["s3cret", "s3cret\n", "s3cret\r\n", "s3cret\n\n"] {
            assert_eq!(read_back(content.as_bytes()).as_deref(), Ok("s3cret"), "{content:?}");
        }
        assert_eq!(read_back(b" a b \n").as_deref(), Ok(" a b "), "blanks may belong to a password");
        assert_eq!(read_back(&[b'x'; 4096]).map(|secret| secret.len()), Ok(4096));
        for (content, reason) in [
            (&b""[..], "is empty"),
            (b"\n\n", "is empty"),
            (b"s3cret\nsecond", "more than one line"),
            (b"s3\0cret", "more than one line"),
            (b"s3cret\xff", "UTF-8"),
            (&[b'x'; 4097], "longer than 4096"),
        ] {
            let fault = read_back(content).expect_err(reason);
            assert!(fault.contains(reason) && !fault.contains("s3"), "{fault}");
        }
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        for path in [folder.path(), Path::new("/dev/zero"), &pipe] {
            assert_eq!(read(path), Err("is not a regular file".to_owned()), "{}", path.display());
        }
        assert!(read(&folder.path().join("none")).expect_err("absent").contains("No such file"));
    }
}
