//! One answer, read from bytes that arrive in any pieces.
//!
//! In the order of time: the head is parsed straight from the bytes as they arrived; only a head that came in pieces is
//! put together in a buffer. Informational answers (1xx) are passed over. The body is skipped, not copied, up to its
//! end. Of an error answer in JSON the beginning is kept, to read the problem's `code`.

use std::borrow::Cow;

use serde::Deserialize;

use super::chunked::{ChunkError, ChunkReader};
use super::head::{self, Framing, Head};
use crate::outcome::{CacheResult, Label, Labels};

/// Heads of the servers here are below 1 KiB; nginx itself gives up at 4 or 8 KiB.
const MAX_HEAD: usize = 16 * 1024;
/// A server that sends more `103 Early Hints` than this is not hinting.
const MAX_INFORMATIONAL: u8 = 16;
/// A problem document is a few hundred bytes long.
const MAX_PROBLEM: usize = 4 * 1024;

/// What makes an answer malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("the answer's head is not HTTP/1.x: {0}")]
    Head(httparse::Error),
    #[error("the answer's head is longer than 16 KiB")]
    HeadTooLong,
    #[error("{0} is no status code of HTTP")]
    Status(u16),
    #[error("the server switched protocols without being asked")]
    Upgrade,
    #[error("more than 16 informational answers before the real one")]
    Informational,
    #[error("Content-Length is not one number")]
    ContentLength,
    #[error("Transfer-Encoding and Content-Length contradict each other")]
    Framing,
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    #[error("bytes follow the end of the answer")]
    ExtraBytes,
}

/// A complete answer, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) keep_alive: bool,
    pub(crate) instance: Label,
    pub(crate) cache: Option<CacheResult>,
    pub(crate) code: Label,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done(Answer),
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Length(u64),
    Chunked(ChunkReader),
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Body(Head, Body),
    Done,
}

#[derive(Debug)]
pub(crate) struct ResponseReader {
    state: State,
    to_head_request: bool,
    informational: u8,
    /// The beginning of a head that came in pieces; empty otherwise.
    partial: Vec<u8>,
    /// The beginning of an error answer's JSON body; empty otherwise.
    problem: Vec<u8>,
}

impl ResponseReader {
    pub(crate) fn new() -> Self {
        Self { state: State::Done, to_head_request: false, informational: 0, partial: Vec::new(), problem: Vec::new() }
    }

    /// Makes ready for the answer to the next request.
    pub(crate) fn begin(&mut self, to_head_request: bool) {
        self.state = State::Head;
        self.to_head_request = to_head_request;
        self.informational = 0;
        self.partial.clear();
        self.problem.clear();
    }

    /// Takes the bytes that arrived, all of them.
    pub(crate) fn feed(&mut self, bytes: &[u8], labels: &mut Labels) -> Result<Progress, ProtocolError> {
        let mut rest = bytes;
        while let State::Head = self.state {
            match self.take_head(rest, labels)? {
                Some(used) => rest = &rest[used..],
                None => return Ok(Progress::More),
            }
        }
        let State::Body(head, body) = &mut self.state else {
            return if rest.is_empty() { Ok(Progress::More) } else { Err(ProtocolError::ExtraBytes) };
        };
        let problem = &mut self.problem;
        let mut keep = |data: &[u8]| {
            if head.json && head.status >= 400 {
                let room = MAX_PROBLEM.saturating_sub(problem.len());
                problem.extend_from_slice(&data[..data.len().min(room)]);
            }
        };
        let (used, done) = match body {
            Body::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                keep(&rest[..take]);
                *left -= take as u64;
                (take, *left == 0)
            }
            Body::Chunked(chunks) => (chunks.feed(rest, keep)?, chunks.is_done()),
            Body::UntilClose => {
                keep(rest);
                (rest.len(), false)
            }
        };
        if used < rest.len() {
            return Err(ProtocolError::ExtraBytes);
        }
        let head = *head;
        if done { Ok(Progress::Done(self.complete(head, labels))) } else { Ok(Progress::More) }
    }

    /// The peer closed: the answer is complete only if that is how its body ends.
    pub(crate) fn finish(&mut self, labels: &mut Labels) -> Option<Answer> {
        match self.state {
            State::Body(head, Body::UntilClose) => Some(self.complete(head, labels)),
            _ => None,
        }
    }

    /// Parses the head in front of `bytes`; returns how many of them belong to it, or `None` when all do.
    fn take_head(&mut self, bytes: &[u8], labels: &mut Labels) -> Result<Option<usize>, ProtocolError> {
        let earlier = self.partial.len();
        let whole = if earlier == 0 {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            &self.partial
        };
        let parsed = head::parse(whole, self.to_head_request, labels)?;
        if parsed.map_or(whole.len(), |(length, _)| length) > MAX_HEAD {
            return Err(ProtocolError::HeadTooLong);
        }
        let Some((length, head)) = parsed else {
            if earlier == 0 {
                self.partial.extend_from_slice(bytes);
            }
            return Ok(None);
        };
        self.partial.clear();
        match head.status {
            101 => return Err(ProtocolError::Upgrade),
            100..200 => {
                self.informational += 1;
                if self.informational > MAX_INFORMATIONAL {
                    return Err(ProtocolError::Informational);
                }
            }
            _ => {
                let body = match head.framing {
                    Framing::Length(left) => Body::Length(left),
                    Framing::Chunked => Body::Chunked(ChunkReader::new()),
                    Framing::UntilClose => Body::UntilClose,
                };
                self.state = State::Body(head, body);
            }
        }
        Ok(Some(length - earlier))
    }

    fn complete(&mut self, head: Head, labels: &mut Labels) -> Answer {
        self.state = State::Done;
        let code = if self.problem.is_empty() { Label::NONE } else { problem_code(&self.problem, labels) };
        let Head { status, keep_alive, instance, cache, .. } = head;
        Answer { status, keep_alive, instance, cache, code }
    }
}

/// The `code` of a problem document (RFC 9457).
fn problem_code(body: &[u8], labels: &mut Labels) -> Label {
    #[derive(Deserialize)]
    struct Problem<'a> {
        #[serde(borrow)]
        code: Option<Cow<'a, str>>,
    }
    match serde_json::from_slice::<Problem<'_>>(body) {
        Ok(Problem { code: Some(code) }) => labels.intern(code.as_bytes()),
        Ok(Problem { code: None }) | Err(_) => Label::NONE,
    }
}

#[cfg(test)]
mod tests;
