//! The chunked transfer coding, parsed strictly (RFC 9112 §7.1): sizes are hexadecimal, and only CRLF ends a line.
//! Extensions and trailers are skipped, and their size is limited.

/// Limit of the chunk extensions and trailers of one answer together; real ones take a few dozen bytes.
const MAX_OVERHEAD: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk does not begin with its size in hex")]
    Size,
    #[error("a chunk size is larger than 2^60")]
    TooLarge,
    #[error("a chunk or its size line does not end in CRLF")]
    Framing,
    #[error("chunk extensions or trailers are longer than 16 KiB")]
    Overhead,
}

/// The position of the next byte in the coding.
#[derive(Clone, Copy, Debug)]
enum State {
    Size {
        value: u64,
        digits: bool,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkReader {
    state: State,
    overhead: usize,
}

impl ChunkReader {
    pub(crate) fn new() -> Self {
        Self { state: State::Size { value: 0, digits: false }, overhead: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Continues to parse; the payload is passed to `on_data`. Returns how many bytes belong to this body: fewer than
    /// given only when the body is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut on_data: impl FnMut(&[u8])) -> Result<usize, ChunkError> {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Data { left } = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                on_data(&bytes[at..at + take]);
                at += take;
                let left = left - take as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                continue;
            }
            if self.is_done() {
                break;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        Ok(match self.state {
            State::Size { value, digits } => match (byte, char::from(byte).to_digit(16)) {
                (_, Some(digit)) if value < 1 << 56 => {
                    State::Size { value: value << 4 | u64::from(digit), digits: true }
                }
                (_, Some(_)) => return Err(ChunkError::TooLarge),
                (b'\r', None) if digits => State::SizeLf { size: value },
                (b';' | b' ' | b'\t', None) if digits => State::Extension { size: value },
                _ => return Err(ChunkError::Size),
            },
            State::Extension { size } => match byte {
                b'\r' => State::SizeLf { size },
                b'\n' => return Err(ChunkError::Framing),
                _ => self.skip(State::Extension { size })?,
            },
            State::SizeLf { size } => match size {
                0 => lf(byte, State::TrailerStart)?,
                left => lf(byte, State::Data { left })?,
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataCr => return Err(ChunkError::Framing),
            State::DataLf => lf(byte, State::Size { value: 0, digits: false })?,
            State::TrailerStart if byte == b'\r' => State::LastLf,
            State::TrailerStart | State::Trailer => match byte {
                b'\r' => State::TrailerLf,
                b'\n' => return Err(ChunkError::Framing),
                _ => self.skip(State::Trailer)?,
            },
            State::TrailerLf => lf(byte, State::TrailerStart)?,
            State::LastLf => lf(byte, State::Done)?,
            state @ (State::Data { .. } | State::Done) => state,
        })
    }

    fn skip(&mut self, next: State) -> Result<State, ChunkError> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD { Err(ChunkError::Overhead) } else { Ok(next) }
    }
}

fn lf(byte: u8, next: State) -> Result<State, ChunkError> {
    if byte == b'\n' { Ok(next) } else { Err(ChunkError::Framing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload, the number of bytes used, and whether the body is complete.
    fn read(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let (mut reader, mut payload) = (ChunkReader::new(), Vec::new());
        let used = reader.feed(bytes, |data| payload.extend_from_slice(data))?;
        Ok((payload, used, reader.is_done()))
    }

    #[test]
    fn reads_chunks_extensions_and_trailers() {
        let body = b"4\r\nWiki\r\n5;name=\"x\"\r\npedia\r\nA \r\n0123456789\r\n0\r\nExpires: never\r\nA: b\r\n\r\nrest";
        let (payload, used, done) = read(body).unwrap();
        assert_eq!(payload, b"Wikipedia0123456789");
        assert_eq!((used, done), (body.len() - 4, true));
    }

    #[test]
    fn is_not_done_before_the_last_byte() {
        let body = b"1\r\na\r\n0\r\n\r\n";
        for end in 0..body.len() {
            assert!(!read(&body[..end]).unwrap().2, "{end}");
        }
    }

    #[test]
    fn refuses_what_others_let_pass() {
        for (bytes, error) in [
            (&b"\r\n"[..], ChunkError::Size),
            (b"-1\r\n", ChunkError::Size),
            (b"0x4\r\n", ChunkError::Size),
            (b";x\r\n", ChunkError::Size),
            (b"4\nWiki", ChunkError::Size),
            (b"4;x\nWiki", ChunkError::Framing),
            (b"4\r\nWikiX", ChunkError::Framing),
            (b"fffffffffffffffff\r\n", ChunkError::TooLarge),
        ] {
            assert_eq!(read(bytes), Err(error), "{:?}", String::from_utf8_lossy(bytes));
        }
        let endless = [b"1;".as_slice(), &vec![b'x'; MAX_OVERHEAD + 1]].concat();
        assert_eq!(read(&endless), Err(ChunkError::Overhead));
    }
}
