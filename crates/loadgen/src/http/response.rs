//! One answer, parsed from bytes that arrive in pieces of any size.
//!
//! The head is parsed directly from the received bytes; only a head that arrives in pieces is copied to a buffer.
//! Informational answers (1xx) are skipped. The body is skipped up to its end, without a copy. The beginning of an
//! error answer in JSON is kept, to read the problem's `code`.

use std::borrow::Cow;

use serde::Deserialize;

use super::chunked::{ChunkError, ChunkReader};
use super::head::{self, Framing, Head};
use crate::check::Check;
use crate::outcome::{CacheResult, Label, Labels};

/// Heads of the stack's servers are below 1 KiB; nginx itself allows 4 or 8 KiB.
const MAX_HEAD: usize = 16 * 1024;
/// More `103 Early Hints` than this are an error.
const MAX_INFORMATIONAL: u8 = 16;
/// A problem document is a few hundred bytes long.
const MAX_PROBLEM: usize = 4 * 1024;
/// How much of a body is kept for checks.
const MAX_CHECKED: usize = 1024 * 1024;

/// Why an answer is malformed.
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

/// A complete answer, with the data that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) keep_alive: bool,
    pub(crate) instance: Label,
    pub(crate) cache: Option<CacheResult>,
    /// The problem's code, or the failed check.
    pub(crate) code: Label,
    /// The body does not contain what a check requires.
    pub(crate) is_unmet: bool,
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
pub(crate) struct ResponseReader<'a> {
    state: State,
    checks: &'a [Check],
    to_head_request: bool,
    informational: u8,
    /// The beginning of a head that arrives in pieces; otherwise empty.
    partial: Vec<u8>,
    /// The beginning of the JSON body of an error answer, or of a body that is checked; otherwise empty.
    kept: Vec<u8>,
}

impl<'a> ResponseReader<'a> {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Done,
            checks: &[],
            to_head_request: false,
            informational: 0,
            partial: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Prepares for the answer to the next request.
    pub(crate) fn begin(&mut self, to_head_request: bool, checks: &'a [Check]) {
        self.state = State::Head;
        self.checks = checks;
        self.to_head_request = to_head_request;
        self.informational = 0;
        self.partial.clear();
        self.kept.clear();
    }

    /// Consumes all bytes that have arrived.
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
        let kept = &mut self.kept;
        let limit = if self.checks.iter().any(Check::needs_body) {
            MAX_CHECKED
        } else if head.json && head.status >= 400 {
            MAX_PROBLEM
        } else {
            0
        };
        let mut keep = |data: &[u8]| {
            let room = limit.saturating_sub(kept.len());
            kept.extend_from_slice(&data[..data.len().min(room)]);
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

    /// The peer closed. The answer is complete only if its body ends with the connection.
    pub(crate) fn finish(&mut self, labels: &mut Labels) -> Option<Answer> {
        match self.state {
            State::Body(head, Body::UntilClose) => Some(self.complete(head, labels)),
            _ => None,
        }
    }

    /// Parses the head at the start of `bytes`. Returns how many bytes belong to it, or `None` if all do.
    fn take_head(&mut self, bytes: &[u8], labels: &mut Labels) -> Result<Option<usize>, ProtocolError> {
        let earlier = self.partial.len();
        let whole = if earlier == 0 {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            &self.partial
        };
        let parsed = head::parse(whole, self.to_head_request, self.checks, labels)?;
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
        let Head { status, keep_alive, instance, cache, met, json, .. } = head;
        let is_problem = json && status >= 400 && !self.kept.is_empty();
        let mut code = if is_problem { problem_code(&self.kept, labels) } else { Label::NONE };
        let is_met = |(bit, check): &(usize, &Check)| met >> bit & 1 == 1 || check.is_met_by_body(&self.kept);
        let unmet = self.checks.iter().enumerate().find(|check| !is_met(check));
        if let (Some((_, check)), Label::NONE) = (unmet, code) {
            code = labels.intern(format!("without {}", check.text()).as_bytes());
        }
        Answer { status, keep_alive, instance, cache, code, is_unmet: unmet.is_some() }
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
