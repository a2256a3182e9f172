//! What clients met, as nginx wrote it down: its access log, read as it grows. Both drivers write the same lines.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use stack::{Logs, Stack, StackError};

/// What one look reads at most: at 20,000 requests a second a look each 100 ms reads 1 MB.
const LARGEST_LOOK: u64 = 8 << 20;
/// Of a command's lines, those that may wait for a look: a second's at 20,000 requests a second. Then the command waits.
const WAITING_LINES: usize = 20_000;

/// By this the lens finds its own request again.
pub(super) const LENS: &str = "lens-";

/// What came out of nginx in some time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Traffic {
    pub(super) good: u32,
    /// 4xx but 429.
    pub(super) client_errors: u32,
    /// 429. A 503 of the API's own limit is a server error here: the client got nothing either way.
    pub(super) refused: u32,
    pub(super) server_errors: u32,
    /// 499: the client left first.
    pub(super) gave_up: u32,
    /// Sent to more than one replica.
    pub(super) retried: u32,
    /// Of good answers, in milliseconds.
    pub(super) latencies_ms: Vec<f32>,
    /// The lines of the lens' own requests.
    pub(super) lens: Vec<String>,
}

impl Traffic {
    pub(super) fn merge(&mut self, other: Self) {
        self.good += other.good;
        self.client_errors += other.client_errors;
        self.refused += other.refused;
        self.server_errors += other.server_errors;
        self.gave_up += other.gave_up;
        self.retried += other.retried;
        self.latencies_ms.extend(other.latencies_ms);
        self.lens.extend(other.lens);
    }

    pub(super) fn add(&mut self, line: &str) {
        let Some(line) = line.find('{').map(|start| &line[start..]) else { return };
        if text_field(line, "request_id").is_some_and(|id| id.starts_with(LENS)) {
            self.lens.push(line.to_owned());
        }
        // The others are those of the lab and of health checks.
        if !text_field(line, "path").is_some_and(|path| path == "/data" || path.starts_with("/data/")) {
            return;
        }
        let Some(status) = field(line, "status").and_then(|text| text.parse::<u16>().ok()) else { return };
        match status {
            499 => self.gave_up += 1,
            429 => self.refused += 1,
            400..=498 => self.client_errors += 1,
            100..=399 => {
                self.good += 1;
                let seconds = field(line, "duration_s").and_then(|text| text.parse::<f32>().ok());
                self.latencies_ms.extend(seconds.map(|seconds| seconds * 1e3));
            }
            _ => self.server_errors += 1,
        }
        if text_field(line, "upstream").is_some_and(|tries| tries.contains(',')) {
            self.retried += 1;
        }
    }

    /// Exact, by the nearest rank. `None` without good answers.
    pub(super) fn quantiles(&mut self, quantiles: [f64; 3]) -> Option<[f64; 3]> {
        self.latencies_ms.sort_unstable_by(f32::total_cmp);
        let count = self.latencies_ms.len();
        let rank = |quantile: f64| ((quantile * count as f64).ceil() as usize).clamp(1, count) - 1;
        (count > 0).then(|| quantiles.map(|quantile| f64::from(self.latencies_ms[rank(quantile)])))
    }
}

/// The number behind `"name":`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut found = line.match_indices(name);
    // A quotation mark inside of a value is escaped, so a name is what stands between a comma and a colon.
    let at = found.find_map(|(at, _)| {
        let before = line[..at].strip_suffix('"').is_some_and(|rest| rest.ends_with([',', '{']));
        (before && line[at + name.len()..].starts_with("\":")).then_some(at + name.len() + 2)
    })?;
    let rest = &line[at..];
    Some(&rest[..rest.find([',', '}'])?])
}

/// The text behind `"name":`; those that are asked for need no escapes.
pub(super) fn text_field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!(",\"{name}\":\""))? + name.len() + 5;
    let rest = &line[start..];
    Some(&rest[..rest.find('"')?])
}

/// The access log from now on.
#[derive(Debug)]
pub(super) struct AccessLog {
    source: Source,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    File { path: PathBuf, open: Option<(File, u64)> },
    Command { child: Child, lines: mpsc::Receiver<Vec<u8>> },
}

impl AccessLog {
    /// # Errors
    /// The stack is gone, or Docker's command line is.
    pub(super) fn follow(stack: &Stack) -> Result<Self, StackError> {
        let source = match stack.logs()? {
            Logs::Files(_) => {
                let path = stack.folder().join("logs").join("nginx-access.log");
                let open = open(&path).and_then(|(mut file, inode)| file.seek(SeekFrom::End(0)).map(|_| (file, inode)));
                Source::File { open: open.ok(), path }
            }
            Logs::Command(words) => follow_command(&words)?,
        };
        Ok(Self { source, rest: Vec::new() })
    }

    /// Adds what was written since the last look. `false`: nothing more will come, as from a command that has ended because the
    /// container was not there yet, or is there no more.
    pub(super) fn read(&mut self, traffic: &mut Traffic) -> bool {
        let mut bytes = std::mem::take(&mut self.rest);
        let goes_on = match &mut self.source {
            Source::File { path, open: current } => {
                read_file(path, current, &mut bytes);
                true
            }
            Source::Command { lines, .. } => read_lines(lines, &mut bytes),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            traffic.add(&String::from_utf8_lossy(line));
        }
        bytes.drain(..whole);
        self.rest = bytes;
        goes_on
    }
}

fn read_lines(lines: &mpsc::Receiver<Vec<u8>>, bytes: &mut Vec<u8>) -> bool {
    for _ in 0..WAITING_LINES {
        match lines.try_recv() {
            Ok(line) => bytes.extend(line),
            Err(mpsc::TryRecvError::Empty) => return true,
            Err(mpsc::TryRecvError::Disconnected) => return false,
        }
    }
    true
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Source::Command { child, .. } = &mut self.source {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn open(path: &PathBuf) -> std::io::Result<(File, u64)> {
    let file = File::open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

/// A file that was replaced, or cut, is read from its beginning.
fn read_file(path: &PathBuf, current: &mut Option<(File, u64)>, bytes: &mut Vec<u8>) {
    let Ok(found) = std::fs::metadata(path) else { return };
    if current.as_ref().is_none_or(|(_, inode)| *inode != found.ino()) {
        *current = open(path).ok();
    }
    let Some((file, _)) = current else { return };
    if file.stream_position().is_ok_and(|position| position > found.len()) {
        let _ = file.rewind();
    }
    let _ = file.take(LARGEST_LOOK).read_to_end(bytes);
}

fn follow_command(words: &[String]) -> Result<Source, StackError> {
    let failed = |source| StackError::Io { what: format!("cannot run {}", words.join(" ")), source };
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .args(["--follow", "--no-log-prefix", "--tail", "0", "nginx"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let (sender, lines) = mpsc::sync_channel(WAITING_LINES);
    if let Some(output) = child.stdout.take() {
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                let mut output = BufReader::new(output);
                let mut line = Vec::new();
                while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                    if sender.send(std::mem::take(&mut line)).is_err() {
                        return;
                    }
                }
            })
            .map_err(failed)?;
    }
    Ok(Source::Command { child, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: u16, seconds: &str, upstream: &str) -> String {
        format!(
            "{{\"timestamp\":\"t\",\"request_id\":\"lens-1\",\"path\":\"/data/\\\"status\\\":1\",\"protocol\":\"HTTP/1.1\",\
             \"status\":{status},\"request_bytes\":1,\"duration_s\":{seconds},\"upstream\":\"{upstream}\",\"cache_status\":\"\"}}"
        )
    }

    #[test]
    fn outcomes_latencies_and_second_tries_are_counted() {
        let mut traffic = Traffic::default();
        for (status, seconds, upstream) in [
            (200, "0.001", "127.0.0.1:1"),
            (200, "0.003", "127.0.0.1:1, 127.0.0.1:2"),
            (404, "0.002", "x"),
            (429, "0.000", ""),
            (499, "1.000", "x"),
            (502, "0.000", "x"),
        ] {
            traffic.add(&line(status, seconds, upstream));
        }
        traffic.add("nginx: not a line of the access log");
        assert_eq!((traffic.good, traffic.client_errors, traffic.refused), (2, 1, 1));
        assert_eq!((traffic.gave_up, traffic.server_errors, traffic.retried), (1, 1, 1));
        assert_eq!(traffic.lens.len(), 6);
        let [p50, p95, _] = traffic.quantiles([0.5, 0.95, 0.99]).unwrap();
        assert!((p50 - 1.0).abs() < 1e-3 && (p95 - 3.0).abs() < 1e-3, "{p50} {p95}");
    }

    #[test]
    fn a_command_that_has_ended_is_noticed_when_its_lines_are_read() {
        let words = ["sh", "-c", "echo '{\"a\":1,\"path\":\"/data\",\"status\":200}'"].map(str::to_owned);
        let mut log = AccessLog { source: follow_command(&words).unwrap(), rest: Vec::new() };
        let mut traffic = Traffic::default();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while log.read(&mut traffic) {
            assert!(std::time::Instant::now() < end, "the command ended long ago");
            std::thread::yield_now();
        }
        assert_eq!(traffic.good, 1);
    }

    #[test]
    fn a_line_is_read_when_it_is_whole_and_a_replaced_file_from_its_beginning() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        std::fs::write(&path, line(200, "0.001", "x")).unwrap();
        let mut log = AccessLog { source: Source::File { path: path.clone(), open: None }, rest: Vec::new() };
        let look = |log: &mut AccessLog| {
            let mut traffic = Traffic::default();
            log.read(&mut traffic);
            traffic.good
        };
        assert_eq!(look(&mut log), 0);
        std::fs::write(&path, format!("{}\n", line(200, "0.001", "x"))).unwrap();
        assert_eq!(look(&mut log), 1);
        let other = place.path().join("other");
        std::fs::write(&other, format!("{0}\n{0}\n", line(200, "0.001", "x"))).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(look(&mut log), 2);
    }
}
