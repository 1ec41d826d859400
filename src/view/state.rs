//! What a person looks at in a dataset, and the edits asked for. Edits and the quality check run beside the window.

use super::model::{Model, Series};
use crate::dataset::check::{self, CheckOptions, Finding, Severity};
use crate::dataset::{Dataset, DatasetError, Outcome, Segments, edit};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// How long a message stays, s.
const MESSAGE_S: f64 = 6.0;
/// The second check looks at every n-th picture.
const PICTURE_STEP: usize = 10;

/// What a person asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Look at this episode.
    Select(usize),
    /// The next or previous one.
    Step(i64),
    /// Go to this row.
    Seek(usize),
    /// Some rows on or back.
    Move(i64),
    /// Play or stop.
    Play,
    /// Keep the episode from this row on.
    MarkFirst,
    /// Keep it up to this row.
    MarkLast,
    /// Forget both marks.
    Unmark,
    /// Cut off what is outside the marks.
    Trim,
    /// Remove the episode.
    Delete,
    /// Give it this verdict.
    Judge(Outcome),
    /// A segment of the demonstration begins in this row: 0 the jaws close, 1 the object is lifted, 2 it is set down. With the
    /// third one the marks are kept.
    Segment(usize),
    /// Take the last edit back.
    Undo,
}

/// An edit or check that goes on beside the window.
type Job<T> = Receiver<Result<T, DatasetError>>;

/// See the module.
pub struct View {
    root: PathBuf,
    /// What is shown.
    pub model: Model,
    /// The episode that is looked at.
    pub selected: usize,
    /// The row that is looked at; between rows while it plays.
    pub cursor: f64,
    /// Whether it plays.
    pub playing: bool,
    /// First row to keep.
    pub first: Option<usize>,
    /// Last row to keep.
    pub last: Option<usize>,
    /// First rows of the demonstration's segments as far as they are marked.
    pub segments: [Option<usize>; 3],
    /// The numbers of the episode.
    pub series: Series,
    /// What is told, and for how much longer, s.
    pub message: Option<(String, f64)>,
    /// What the check found about the whole dataset.
    pub about_all: Vec<Finding>,
    limits: Option<Vec<[f32; 2]>>,
    edit: Option<Job<String>>,
    check: Option<Job<check::Report>>,
}

impl View {
    /// Opens the dataset in `root` at an episode. `limits` of the joints, in its units, let the check find clipping.
    ///
    /// # Errors
    /// When it cannot be read or has no such episode.
    pub fn open(root: PathBuf, episode: usize, limits: Option<Vec<[f32; 2]>>) -> Result<Self, DatasetError> {
        let model = Model::open(&root)?;
        let series =
            if episode == 0 && model.entries.is_empty() { Series::default() } else { model.series(episode)? };
        let mut view = Self {
            root,
            model,
            selected: episode,
            cursor: 0.0,
            playing: false,
            first: None,
            last: None,
            segments: [None; 3],
            series,
            message: None,
            about_all: Vec::new(),
            limits,
            edit: None,
            check: None,
        };
        view.read_marks();
        view.start_check();
        Ok(view)
    }

    /// Rows of the episode that is looked at.
    pub fn rows(&self) -> usize {
        self.model.entries.get(self.selected).map_or(0, |entry| entry.rows)
    }

    /// The row that is looked at.
    pub fn row(&self) -> usize {
        (self.cursor.max(0.0) as usize).min(self.rows().saturating_sub(1))
    }

    /// The rows that a trim would keep; `None` where it would change nothing.
    pub fn kept(&self) -> Option<Range<usize>> {
        let rows = self.rows();
        let kept = self.first.unwrap_or(0)..self.last.map_or(rows, |last| last + 1).min(rows);
        ((self.first.is_some() || self.last.is_some()) && !kept.is_empty() && kept != (0..rows)).then_some(kept)
    }

    /// Whether an edit is going on.
    pub fn is_busy(&self) -> bool {
        self.edit.is_some()
    }

    /// Whether the quality check is going on.
    pub fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// Shows a line for a while.
    pub fn say(&mut self, line: impl Into<String>) {
        self.message = Some((line.into(), MESSAGE_S));
    }

    /// Carries out a command.
    pub fn act(&mut self, command: Command) {
        let rows = self.rows();
        match command {
            Command::Select(episode) => self.select(episode),
            Command::Step(step) => {
                let last = self.model.entries.len().saturating_sub(1);
                self.select(self.selected.saturating_add_signed(step as isize).min(last));
            }
            Command::Seek(row) => self.seek(row as f64),
            Command::Move(step) => {
                self.playing = false;
                self.seek(self.row() as f64 + step as f64);
            }
            Command::Play => {
                self.playing = !self.playing && rows > 0;
                if self.playing && self.row() + 1 >= rows {
                    self.cursor = 0.0;
                }
            }
            Command::MarkFirst => {
                self.first = Some(self.row());
                self.last = self.last.filter(|last| *last > self.row());
            }
            Command::MarkLast => {
                self.last = Some(self.row());
                self.first = self.first.filter(|first| *first < self.row());
            }
            Command::Unmark => (self.first, self.last) = (None, None),
            Command::Segment(segment) => self.mark_segment(segment),
            Command::Trim | Command::Delete | Command::Judge(_) | Command::Undo => self.start_edit(command),
        }
    }

    /// Marks the beginning of a segment; when all three are there they are kept.
    fn mark_segment(&mut self, segment: usize) {
        let row = self.row();
        if let Some(mark) = self.segments.get_mut(segment) {
            *mark = Some(row);
        }
        let [Some(close), Some(lift), Some(rest)] = self.segments else {
            let names = ["the jaws close (1)", "the object is lifted (2)", "it is set down (3)"];
            let missing: Vec<&str> =
                names.iter().zip(self.segments).filter(|(_, mark)| mark.is_none()).map(|(name, _)| *name).collect();
            return self.say(format!("marked at row {row}; still to mark: {}", missing.join(", ")));
        };
        let segments = Segments { close, lift, rest };
        match segments.problem(self.rows()) {
            Some(problem) => self.say(format!("{problem}; mark them in their order")),
            None => self.start_edit(Command::Segment(segment)),
        }
    }

    /// The marks that the dataset has of the episode.
    fn read_marks(&mut self) {
        let known = self.model.dataset.info().segments(self.selected);
        self.segments = known.map_or([None; 3], |known| [known.close, known.lift, known.rest].map(Some));
    }

    fn select(&mut self, episode: usize) {
        match self.model.series(episode) {
            Ok(series) => {
                self.series = series;
                self.selected = episode;
                (self.cursor, self.first, self.last) = (0.0, None, None);
                self.read_marks();
            }
            Err(error) => self.say(error.to_string()),
        }
    }

    fn seek(&mut self, row: f64) {
        self.cursor = row.clamp(0.0, self.rows().saturating_sub(1) as f64);
    }

    fn start_edit(&mut self, command: Command) {
        if self.is_busy() {
            return self.say("the edit before is still going on");
        }
        let (root, episode, kept) = (self.root.clone(), self.selected, self.kept());
        let marks = self.segments;
        if matches!(command, Command::Trim) && kept.is_none() {
            return self.say("mark the first and last row to keep: I and O");
        }
        self.playing = false;
        let (done, job) = channel();
        let work = move || {
            let result = match command {
                Command::Delete => {
                    edit::delete(&root, &[episode]).map(|_| format!("episode {episode} is deleted; U undoes"))
                }
                Command::Trim => {
                    let kept = kept.unwrap_or(0..0);
                    let words =
                        format!("episode {episode} keeps rows {}-{}; U undoes", kept.start, kept.end.max(1) - 1);
                    edit::trim(&root, episode, kept).map(|_| words)
                }
                Command::Judge(outcome) => {
                    let verdict = if outcome == Outcome::Success { "success" } else { "failure" };
                    edit::judge(&root, &[episode], outcome).map(|_| format!("episode {episode}: {verdict}; U undoes"))
                }
                Command::Segment(_) => {
                    let segments = match marks {
                        [Some(close), Some(lift), Some(rest)] => Some(Segments { close, lift, rest }),
                        _ => None,
                    };
                    edit::mark(&root, episode, segments).map(|_| format!("episode {episode} is marked; U undoes"))
                }
                _ => edit::undo(&root).map(|name| format!("took back: {name}")),
            };
            // The window may have been closed.
            let _ = done.send(result);
        };
        match std::thread::Builder::new().name("edit".into()).spawn(work) {
            Ok(_) => self.edit = Some(job),
            Err(error) => self.say(format!("no thread for the edit: {error}; close other programs")),
        }
    }

    /// Looks at rows first, which is quick, then at some of the pictures.
    fn start_check(&mut self) {
        let (root, limits) = (self.root.clone(), self.limits.clone());
        let (done, job) = channel();
        let work = move || {
            for picture_step in [0, PICTURE_STEP] {
                let options = CheckOptions { limits: limits.clone(), picture_step, ..CheckOptions::default() };
                let report = Dataset::open(&root).and_then(|dataset| check::dataset(&dataset, &options));
                if done.send(report).is_err() {
                    return;
                }
            }
        };
        self.check = std::thread::Builder::new().name("check".into()).spawn(work).is_ok().then_some(job);
    }

    /// Lets `dt_s` pass; whether something changed that has to be drawn.
    pub fn pass(&mut self, dt_s: f64) -> bool {
        if let Some((_, left_s)) = &mut self.message {
            *left_s -= dt_s;
            if *left_s <= 0.0 {
                self.message = None;
            }
        }
        if self.playing {
            self.cursor += dt_s * f64::from(self.model.dataset.info().fps);
            if self.row() + 1 >= self.rows() {
                self.playing = false;
            }
        }
        self.hear();
        self.playing || self.message.is_some() || self.is_busy() || self.is_checking()
    }

    fn hear(&mut self) {
        match self.edit.as_ref().map(Receiver::try_recv) {
            Some(Ok(result)) => {
                self.edit = None;
                match result {
                    Ok(line) => {
                        self.reload();
                        self.say(line);
                    }
                    Err(error) => self.say(error.to_string()),
                }
            }
            Some(Err(TryRecvError::Disconnected)) => self.edit = None,
            Some(Err(TryRecvError::Empty)) | None => {}
        }
        match self.check.as_ref().map(Receiver::try_recv) {
            Some(Ok(Ok(report))) => {
                self.about_all = report.dataset;
                for found in report.episodes {
                    if let Some(entry) = self.model.entries.get_mut(found.episode).filter(|e| e.rows == found.frames) {
                        entry.findings = Some(found.findings);
                    }
                }
            }
            Some(Ok(Err(error))) => self.say(error.to_string()),
            Some(Err(TryRecvError::Disconnected)) => self.check = None,
            Some(Err(TryRecvError::Empty)) | None => {}
        }
    }

    fn reload(&mut self) {
        match Model::open(&self.root) {
            Ok(model) => {
                self.model = model;
                let row = self.cursor;
                self.select(self.selected.min(self.model.entries.len().saturating_sub(1)));
                self.seek(row);
                self.start_check();
            }
            Err(error) => self.say(error.to_string()),
        }
    }

    /// The worst finding of an episode, and how many there are beyond notes.
    pub fn worst(&self, episode: usize) -> Option<(Severity, usize)> {
        let findings = self.model.entries.get(episode)?.findings.as_ref()?;
        let count = findings.iter().filter(|finding| finding.severity > Severity::Note).count();
        Some((findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Note), count))
    }
}
