//! A run of the lab on this stack, watched through its journal as it grows. Nothing is asked of the run itself.
//!
//! Nothing of the journal is kept but what the page shows, since a night's journal is larger than everything else here. What
//! needs all of it, the verdict, is asked of another process, which takes its memory along when it ends.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use stack::Holder;
use time::OffsetDateTime;

use super::{effects::span, hub::Hub};
use crate::{
    journal::{Begin, Ending, Entry},
    run::announcement::{self, AnnouncedRun},
    verdict::{self, Outcome, Verdict},
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was done last; all of it is in the report.
const STEPS: usize = 6;
/// Of a journal that was not followed from its beginning, at once. A whole night's is read in several looks.
const AT_ONCE: u64 = 16 << 20;

/// What the page shows of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunState {
    pub(super) name: String,
    pub(super) question: String,
    pub(super) command: String,
    /// `2 of 6: paused`; empty before the first one.
    pub(super) arm: String,
    pub(super) phase: &'static str,
    /// The last steps, oldest first.
    pub(super) steps: Vec<Step>,
    pub(super) hypotheses: Vec<Hypothesis>,
    pub(super) progress: Progress,
    /// Beside the journal, when it was written.
    pub(super) report: Option<PathBuf>,
    /// The folder with this run and others, when it has an index of their reports.
    pub(super) reports: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Complete(Outcome),
    Interrupted,
    Failed,
    /// The run is gone, and its journal has no end.
    Lost,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// Its name in the experiment.
    name: String,
    pub(super) at: OffsetDateTime,
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hypothesis {
    pub(super) says: String,
    pub(super) arm: String,
    pub(super) limit: String,
    /// `None`: it is not decided yet.
    pub(super) outcome: Option<Outcome>,
    /// What was observed, or why it cannot be told.
    pub(super) saw: String,
}

/// A journal that is read as it grows.
#[derive(Debug)]
struct Followed {
    announced: AnnouncedRun,
    file: File,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    arms: Arms,
    state: Option<RunState>,
}

/// Which arms there are, and how far they are.
#[derive(Debug, Default)]
struct Arms {
    repeats: u32,
    /// With repetitions.
    all: usize,
    begun: usize,
    current: String,
    /// How many runs of each have ended.
    ended: BTreeMap<String, u32>,
}

/// The verdict on a journal as far as it goes; `None`: it cannot be told.
type Judge<'a> = &'a dyn Fn(&Path) -> Option<Verdict>;

/// Looks until the console ends.
pub(super) fn watch(hub: &Hub) {
    let mut followed: Option<Followed> = None;
    while !hub.is_ending() {
        let start = Instant::now();
        let announced = announcement::find(&hub.options.folder);
        // Without an announcement the last run stays: its report outlives its stack. A journal that cannot be opened yet is
        // tried again at the next look.
        if let Some(announced) = announced.filter(|now| followed.as_ref().map(|of| &of.announced) != Some(now)) {
            followed = Followed::open(announced).ok();
        }
        if let Some(followed) = &mut followed {
            let held_by = hub.look().status().and_then(|status| status.session.clone());
            let judge = |journal: &Path| judge_apart(&hub.options.agent, journal);
            hub.set_run(followed.look(held_by.as_ref(), &judge).map(Arc::new));
        }
        hub.sleep_until(start + LOOK_EVERY);
    }
}

/// `lab judge`, see [`Command::Judge`](crate::cli::Command::Judge).
fn judge_apart(program: &Path, journal: &Path) -> Option<Verdict> {
    let judging = Command::new(program).arg("judge").arg(journal).stdin(Stdio::null()).stderr(Stdio::null()).output();
    serde_json::from_slice(&judging.ok()?.stdout).ok()
}

impl Followed {
    fn open(announced: AnnouncedRun) -> io::Result<Self> {
        let file = File::open(&announced.journal)?;
        Ok(Self { announced, file, rest: Vec::new(), arms: Arms::default(), state: None })
    }

    fn look(&mut self, held_by: Option<&Holder>, judge: Judge<'_>) -> Option<RunState> {
        // After a read error the state so far is shown.
        let has_new = self.read(judge).unwrap_or(false);
        let is_there = held_by.is_some_and(|holder| holder.pid() == self.announced.pid);
        let journal = &self.announced.journal;
        let state = self.state.as_mut()?;
        if matches!(state.progress, Progress::Running | Progress::Lost) {
            state.progress = if is_there || has_new { Progress::Running } else { Progress::Lost };
        }
        // It is written after the end of the journal.
        let is_over = state.progress != Progress::Running;
        if is_over && state.report.is_none() {
            state.report = Some(journal.with_file_name("report.html")).filter(|path| path.exists());
        }
        if state.reports.is_none() {
            let has_index = |folder: &PathBuf| folder.join("index.html").exists();
            state.reports = self.announced.reports.clone().filter(has_index);
        }
        Some(state.clone())
    }

    /// Takes in the complete lines that were added, and tells whether there were any. A line of an unknown form is left
    /// out, as in a journal of a newer version.
    fn read(&mut self, judge: Judge<'_>) -> io::Result<bool> {
        (&self.file).take(AT_ONCE).read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(false) };
        let after = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, after);
        let (mut is_decisive, mut has_ended) = (false, false);
        for entry in lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            // Judging reads everything again; only the end of an arm changes what can be told.
            is_decisive |= matches!(entry, Entry::ArmEnd { .. } | Entry::End { .. });
            has_ended |= matches!(entry, Entry::End { .. });
            self.take(&entry);
        }
        if let Some(verdict) = is_decisive.then(|| judge(&self.announced.journal)).flatten() {
            self.tell(&verdict, has_ended);
        }
        Ok(true)
    }

    fn take(&mut self, entry: &Entry) {
        let arms = &mut self.arms;
        if let Entry::Begin(begin) = entry {
            self.state = Some(RunState::new(begin));
            let all = begin.experiment.arms.len() * begin.repeats as usize;
            *arms = Arms { repeats: begin.repeats, all, ..Arms::default() };
        }
        let Some(state) = &mut self.state else { return };
        match entry {
            Entry::Arm { arm, at, repeat } => {
                arms.begun += 1;
                arms.current.clone_from(arm);
                let again = if arms.repeats > 1 { format!(", run {repeat}") } else { String::new() };
                state.arm = format!("{} of {}: {arm}{again}", arms.begun, arms.all);
                state.phase = "getting the stack into shape";
                state.add("", *at, format!("arm {arm} begins"));
            }
            Entry::Start { .. } => state.phase = "before",
            Entry::Intent { step, what, at } => state.add(step, *at, format!("{what} …")),
            Entry::Injected { step, fault } => {
                state.phase = "during";
                let took = span(fault.took_effect_at - fault.asked_at);
                state.add(step, fault.asked_at, format!("{} {}: took effect after {took}", fault.kind, fault.target));
            }
            Entry::Healed { step, healed } => {
                state.phase = "after";
                let took = span(healed.answered_at - healed.asked_at);
                state.add(step, healed.asked_at, format!("heal {}: answered after {took}", healed.target));
            }
            Entry::Done { step, what, asked_at, done_at } => {
                state.add(step, *asked_at, format!("{what}: done after {}", span(*done_at - *asked_at)));
            }
            // A mark takes no time and has no other end.
            Entry::Mark { name, .. } => {
                state.steps.pop_if(|last| last.text == format!("mark {name} …"));
            }
            Entry::Load { .. } => state.phase = "the load is over",
            Entry::ArmEnd { .. } => {
                state.phase = "undone";
                *arms.ended.entry(arms.current.clone()).or_default() += 1;
            }
            Entry::End { ending, .. } => {
                state.progress = match ending {
                    Ending::Complete => Progress::Complete(Outcome::Invalid),
                    Ending::Interrupted => Progress::Interrupted,
                    Ending::Failed(_) => Progress::Failed,
                };
            }
            Entry::Begin(_)
            | Entry::Gate { .. }
            | Entry::Metrics { .. }
            | Entry::Point { .. }
            | Entry::Probe { .. }
            | Entry::Servers { .. }
            | Entry::Alert { .. }
            | Entry::Note { .. }
            | Entry::Invalid { .. } => {}
        }
    }

    fn tell(&mut self, verdict: &Verdict, has_ended: bool) {
        let Some(state) = &mut self.state else { return };
        for (hypothesis, judged) in state.hypotheses.iter_mut().zip(&verdict.judged) {
            let ran = self.arms.ended.get(&judged.arm).copied().unwrap_or(0);
            // What compares two arms cannot be told before both ran.
            let is_open = ran < self.arms.repeats || judged.outcome == Outcome::Invalid;
            if is_open && !has_ended {
                continue;
            }
            hypothesis.outcome = Some(judged.outcome);
            let seen = judged.observed.as_ref().map(|seen| {
                if seen.text.is_empty() {
                    format!("{} {}", verdict::number(seen.value), judged.unit)
                } else {
                    seen.text.clone()
                }
            });
            hypothesis.saw = match judged.outcome {
                Outcome::Held => seen.unwrap_or_default(),
                Outcome::Skipped | Outcome::Invalid | Outcome::Deviated => judged.why.clone(),
            };
        }
        if let Progress::Complete(outcome) = &mut state.progress {
            *outcome = verdict.outcome;
        }
    }
}

impl RunState {
    fn new(begin: &Begin) -> Self {
        let about = &begin.experiment.about;
        let hypotheses = begin.experiment.hypotheses.iter().map(|hypothesis| Hypothesis {
            says: hypothesis.says.clone(),
            arm: hypothesis.arm.clone(),
            limit: format!("{} {}", hypothesis.measure.name(), hypothesis.limit()),
            outcome: None,
            saw: String::new(),
        });
        Self {
            name: about.name.clone(),
            question: about.question.clone(),
            command: begin.command.clone(),
            arm: String::new(),
            phase: "",
            steps: Vec::new(),
            hypotheses: hypotheses.collect(),
            progress: Progress::Running,
            report: None,
            reports: None,
        }
    }

    /// In the place of the announcement of the same step, if that was the last.
    fn add(&mut self, name: &str, at: OffsetDateTime, text: String) {
        if self.steps.last().is_some_and(|last| last.name == name && !name.is_empty() && last.text.ends_with('…')) {
            self.steps.pop();
        }
        self.steps.push(Step { name: name.to_owned(), at, text });
        let surplus = self.steps.len().saturating_sub(STEPS);
        self.steps.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A run that was recorded, for the tests of reports.
    const RECORDED: &str = include_str!("../../tests/report/journal.ndjson");

    fn judge(journal: &Path) -> Option<Verdict> {
        Some(verdict::judge(&crate::journal::Journal::read(journal).ok()?.run()?))
    }

    fn announced(place: &Path) -> AnnouncedRun {
        let reports = Some(place.parent().unwrap().to_owned());
        AnnouncedRun { pid: 1, journal: place.join("journal.ndjson"), reports }
    }

    #[test]
    fn a_journal_is_followed_while_it_grows() {
        let reports = tempfile::tempdir().unwrap();
        let place = reports.path().join("run");
        std::fs::create_dir(&place).unwrap();
        let mut written = File::create(place.join("journal.ndjson")).unwrap();
        let mut followed = Followed::open(announced(&place)).unwrap();
        let look = |followed: &mut Followed| followed.look(None, &judge);
        assert_eq!(look(&mut followed), None, "nothing is written yet");
        let mut states = Vec::new();
        // In pieces that are no lines, as a reader may find them.
        for piece in RECORDED.as_bytes().chunks(50_000) {
            written.write_all(piece).unwrap();
            states.extend(look(&mut followed));
            assert!(followed.rest.len() < 50_000 + RECORDED.lines().map(str::len).max().unwrap(), "it is not kept");
        }
        let first = &states[0];
        assert_eq!((first.progress, first.report.as_ref()), (Progress::Running, None));
        assert!(first.hypotheses.iter().all(|hypothesis| hypothesis.outcome.is_none()));
        let last = states.last().unwrap();
        assert!(matches!(last.progress, Progress::Complete(_)), "{last:?}");
        assert!(last.hypotheses.iter().all(|hypothesis| hypothesis.outcome.is_some()), "{:?}", last.hypotheses);
        assert!(last.steps.iter().any(|step| step.text.contains("answered after")), "{:?}", last.steps);
        assert_eq!((&last.report, &last.reports), (&None, &None));
        std::fs::write(place.join("report.html"), "").unwrap();
        std::fs::write(reports.path().join("index.html"), "").unwrap();
        let after = look(&mut followed).unwrap();
        assert_eq!(after.report, Some(place.join("report.html")));
        assert_eq!(after.reports.as_deref(), Some(reports.path()));
    }

    #[test]
    fn a_run_that_is_gone_is_not_watched_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("journal.ndjson");
        let begin = RECORDED.lines().next().unwrap();
        std::fs::write(&path, format!("{begin}\n{{\"entry\":\"no")).unwrap();
        let mut followed = Followed::open(announced(place.path())).unwrap();
        assert_eq!(followed.look(None, &judge).unwrap().progress, Progress::Running);
        assert_eq!(followed.look(None, &judge).unwrap().progress, Progress::Lost);
    }
}
