//! The saving thread of a [`Writer`](super::Writer): it keeps the journal of the rows, makes finished episodes part of the
//! dataset, and changes the last one.

use super::catalog::Catalog;
use super::check::{self, CheckOptions};
use super::check_rows::EpisodeRows;
use super::commit::{self, Tail};
use super::edit::{self, Edited};
use super::encode::{CameraReport, Encoded, Trouble, lower_priority, report};
use super::error::{DatasetError, Result};
use super::journal::{self, Header, JournalTrack, JournalWriter};
use super::measure::{Measurer, Thumbnail};
use super::mp4::Track;
use super::notes::Note;
use super::queue::{Queue, Taker};
use super::row::{Outcome, Record};
use super::schema::Info;
use super::stats::ImageStats;
use super::video::Video;
use super::writer::{Event, Saved};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

/// Orders for the saving thread.
pub(super) enum Job {
    Start { dir: PathBuf, header: Header },
    Row(Record),
    End { outcome: Outcome, tracks: Vec<Receiver<Result<Encoded>>> },
    Cancel,
    Leave,
    Recover { dir: PathBuf, outcome: Outcome },
    RemoveLast,
    JudgeLast(Outcome),
    Flush(Sender<()>),
}

/// An episode in the saving thread's hands.
pub(super) struct Open {
    dir: PathBuf,
    task: String,
    note: Note,
    journal: JournalWriter,
    rows: Vec<Record>,
}

pub(super) struct Saver {
    pub(super) root: PathBuf,
    pub(super) tail: Tail,
    pub(super) open: Option<Open>,
    pub(super) news: Sender<Event>,
    pub(super) trouble: Trouble,
    pub(super) check: CheckOptions,
    /// The cameras' views in the first episode, once there is one.
    pub(super) references: Vec<Option<Thumbnail>>,
    /// The last episode could not be saved.
    pub(super) unsaved: bool,
}

/// What the quality report looks at.
fn numbers_of(info: &Info, rows: &[Record], outcome: Outcome) -> EpisodeRows {
    let state = info.feature(super::schema::STATE);
    let names = state.and_then(|f| f.names.as_array()).into_iter().flatten();
    EpisodeRows {
        episode: 0,
        fps: info.fps,
        names: names.filter_map(|n| n.as_str().map(String::from)).collect(),
        width: state.map_or(0, super::Feature::width),
        state: rows.iter().flat_map(|r| &r.state).copied().collect(),
        action: rows.iter().flat_map(|r| &r.action).copied().collect(),
        late_s: rows.iter().map(|r| r.extra.late_s).collect(),
        outcome,
    }
}

impl Saver {
    pub(super) fn run(mut self, orders: &Queue<Job>) {
        lower_priority();
        for job in Taker(orders) {
            let done = match job {
                Job::Start { dir, header } => self.start(dir, header),
                Job::Row(record) => self.row(record),
                Job::End { outcome, tracks } => {
                    let saved = self.end(outcome, &tracks);
                    self.unsaved = saved.is_err();
                    self.tell(saved);
                    Ok(())
                }
                Job::RemoveLast => {
                    let change = self.change_last(edit::delete_last_locked);
                    self.news(change.map(|episode| Event::Removed { episode }));
                    Ok(())
                }
                Job::JudgeLast(outcome) => {
                    let change = self.change_last(|root| {
                        let last = Catalog::load(root)?.episodes.len().saturating_sub(1);
                        edit::judge_locked(root, &[last], outcome)
                    });
                    self.news(change.map(|episode| Event::Judged { episode, outcome }));
                    Ok(())
                }
                Job::Cancel => self.open.take().map_or(Ok(()), |open| commit::discard(&self.root, &open.dir)),
                Job::Leave => {
                    self.open = None;
                    Ok(())
                }
                Job::Recover { dir, outcome } => {
                    let saved = self.recover(&dir, outcome);
                    self.tell(saved);
                    Ok(())
                }
                Job::Flush(done) => {
                    // Whoever asked may have gone.
                    let _ = done.send(());
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.open = None;
                report(&self.trouble, error);
            }
        }
    }

    fn tell(&self, saved: Result<Option<Saved>>) {
        if let Some(saved) = saved.transpose() {
            self.news(saved.map(Event::Saved));
        }
    }

    fn news(&self, news: Result<Event>) {
        // Whoever listened may have gone.
        let _ = self.news.send(news.unwrap_or_else(Event::Failed));
    }

    /// Edits the dataset and goes on at its new end; the number of the episode that was the last one.
    fn change_last(&mut self, edit: impl FnOnce(&Path) -> Result<Edited>) -> Result<usize> {
        if self.unsaved {
            let remedy = "Record the next one, then change that";
            return Err(DatasetError::request("last episode", "it could not be saved", remedy));
        }
        commit::roll_forward(&self.root)?;
        let last = self.tail.info.total_episodes.checked_sub(1);
        let last = last.ok_or_else(|| DatasetError::request("last episode", "there is none", "Record one first"))?;
        edit(&self.root)?;
        self.tail = Tail::of(&self.root, Catalog::load(&self.root)?)?;
        if self.tail.info.total_episodes == 0 {
            self.references.clear();
        }
        Ok(last)
    }

    fn start(&mut self, dir: PathBuf, header: Header) -> Result<()> {
        journal::write_header(&dir, &header, &self.tail.info)?;
        let journal = JournalWriter::create(journal::rows_file(&dir))?;
        self.open = Some(Open { dir, task: header.task, note: header.note, journal, rows: Vec::new() });
        Ok(())
    }

    fn row(&mut self, record: Record) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.journal.append(&record.to_bytes(), &[])?;
        open.rows.push(record);
        if open.rows.len().is_multiple_of(self.tail.info.fps as usize) {
            open.journal.sync()?;
        }
        Ok(())
    }

    fn end(&mut self, outcome: Outcome, tracks: &[Receiver<Result<Encoded>>]) -> Result<Option<Saved>> {
        let Some(Open { dir, task, note, rows, .. }) = self.open.take() else {
            // The error that took it away was left for the recording side; it may have ended before seeing it.
            let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
            return trouble.map_or(Ok(None), Err);
        };
        let mut encoded = Vec::with_capacity(tracks.len());
        for track in tracks {
            let track = track.recv().unwrap_or(Err(DatasetError::Thread { thread: "encoding" }));
            encoded.push(track.map_err(|e| {
                let reason = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
                reason.unwrap_or(e)
            })?);
        }
        self.save(&dir, (&task, &note), outcome, rows, encoded).map(Some)
    }

    fn save(
        &mut self,
        dir: &Path,
        (task, note): (&str, &Note),
        outcome: Outcome,
        rows: Vec<Record>,
        encoded: Vec<Encoded>,
    ) -> Result<Saved> {
        let began = Instant::now();
        let mut numbers = numbers_of(&self.tail.info, &rows, outcome);
        let episode = self.tail.commit(&self.root, dir, task, note, outcome, rows, &encoded)?;
        numbers.episode = episode.index;
        let cameras: Vec<_> = encoded.into_iter().map(|e| e.report).collect();
        let mut report = check::episode(&numbers, &cameras, &self.check);
        if self.references.is_empty() {
            self.references = check::references(&self.root);
        }
        check::compare_views(&mut report, &self.references, &cameras);
        let save_s = began.elapsed().as_secs_f64();
        Ok(Saved { episode: episode.index, frames: episode.length, save_s, cameras, report })
    }

    /// Saves what the journal holds of a cut episode.
    fn recover(&mut self, dir: &Path, outcome: Outcome) -> Result<Option<Saved>> {
        let gone = || DatasetError::request(dir.display().to_string(), "there is nothing to recover", "Discard it");
        let header = journal::read_header(dir).ok_or_else(gone)?;
        let mut rows = journal::read_rows(dir, header.joints)?;
        let mut tracks = Vec::new();
        for camera in 0..header.cameras.len() {
            let track = JournalTrack::open(&journal::camera_file(dir, camera))?.ok_or_else(gone)?;
            rows.truncate(track.samples.len());
            tracks.push(track);
        }
        if rows.is_empty() {
            return Err(gone());
        }
        let mut encoded = Vec::new();
        let features: Vec<_> = self.tail.info.videos().cloned().collect();
        for (camera, (mut journal, feature)) in tracks.into_iter().zip(&features).enumerate() {
            let mut samples = std::mem::take(&mut journal.samples);
            samples.truncate(rows.len());
            let [height, width, ..] = feature.shape[..] else { return Err(gone()) };
            let track = Track { setup: journal.setup.clone(), width, height, fps: self.tail.info.fps, samples };
            // Statistics were lost with the thread that gathered them: decode once.
            let probe = dir.join(format!("probe-{camera}.mp4"));
            track.write(&probe, |i, out| journal.read(i, out))?;
            let mut video = Video::open(&probe)?;
            let (mut stats, mut measurer) = (ImageStats::default(), Measurer::default());
            let mut report = CameraReport { key: feature.key.clone(), ..CameraReport::default() };
            for frame in 0..video.len() {
                let image = video.frame(frame)?;
                stats.add(&image);
                report.frames.push(measurer.image(&image));
            }
            report.first = measurer.first.take();
            encoded.push(Encoded { track, stats: stats.finish(), report });
        }
        self.save(dir, (&header.task, &header.note), outcome, rows, encoded).map(Some)
    }
}
