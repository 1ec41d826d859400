//! Recording into a dataset, crash-safe and without waiting: rows go to a journal and pictures to encoding threads at
//! once; ending an episode hands it to a saving thread and returns.

use super::catalog::{Catalog, info_path};
use super::check::{CheckOptions, EpisodeReport};
use super::commit::{self, Tail};
use super::disk;
use super::edit;
use super::encode::{CameraEncoder, CameraReport, Load, Trouble, report};
use super::error::{DatasetError, IoContext, Result};
use super::journal::{self, CutEpisode, Header};
use super::lock::{Lock, unix_s};
use super::notes::Note;
use super::queue::Queue;
use super::row::{self, Outcome, Record, Row};
use super::saver::{Job, Saver};
use super::schema::{Info, Spec};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

/// How a [`Writer`] works.
#[derive(Debug, Clone, PartialEq)]
pub struct WriterOptions {
    /// Pictures of a camera that may wait for encoding. Each 640x480 one holds 0.9 MB.
    pub waiting_pictures: usize,
    /// Thresholds of the quality report made at every save.
    pub check: CheckOptions,
    /// Whether a new dataset tells of every episode in which world it happened, in the column [`extra::WORLD`].
    ///
    /// [`extra::WORLD`]: super::schema::extra::WORLD
    pub world: bool,
    /// Noted about every episode.
    pub note: Note,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { waiting_pictures: 64, check: CheckOptions::default(), world: false, note: Note::new() }
    }
}

/// News from the saving thread.
#[derive(Debug)]
pub enum Event {
    /// An episode is on disk for good.
    Saved(Saved),
    /// An episode could not be saved, or the last one not changed. Those before it are safe; its journal is kept and
    /// offered for recovery.
    Failed(DatasetError),
    /// The last episode is removed; `undo` brings it back once recording has ended.
    Removed {
        /// Its number, which the next episode gets.
        episode: usize,
    },
    /// The last episode has another verdict.
    Judged {
        /// Its number.
        episode: usize,
        /// The verdict.
        outcome: Outcome,
    },
}

/// What was saved.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The episode's number.
    pub episode: usize,
    /// Its rows.
    pub frames: usize,
    /// How long saving took after its last picture was encoded, seconds.
    pub save_s: f64,
    /// What was noticed about the pictures, one entry a camera.
    pub cameras: Vec<CameraReport>,
    /// The quality report.
    pub report: EpisodeReport,
}

/// A dataset open for recording. Only one can exist for a folder, in all programs.
///
/// Dropping it ends the threads; an episode that was not ended stays in the journal and is offered for recovery.
pub struct Writer {
    root: PathBuf,
    info: Info,
    cameras: Vec<CameraEncoder>,
    /// For each camera of the dataset its place among a row's pictures.
    picture_of: Vec<usize>,
    jobs: Arc<Queue<Job>>,
    saver: Option<JoinHandle<()>>,
    events: Receiver<Event>,
    trouble: Trouble,
    cut: Vec<CutEpisode>,
    /// Rows of the episode being recorded.
    recording: Option<usize>,
    task: String,
    note: Note,
    begun: usize,
    _lock: Lock,
}

impl Writer {
    /// Opens the dataset in `root` for adding, or creates it. Completes what a kill interrupted, and looks for cut
    /// episodes: see [`Writer::cut_episodes`].
    ///
    /// # Errors
    /// [`DatasetError::Locked`] while another program writes there, [`DatasetError::Mismatch`] when the existing
    /// dataset differs from `spec`, and the reason when the folder cannot be written.
    pub fn open(root: impl AsRef<Path>, spec: &Spec, options: &WriterOptions) -> Result<Self> {
        let root = root.as_ref().to_path_buf();
        let mut info = spec.info_with(options.world)?;
        let lock = Lock::take(&root)?;
        edit::complete_swap(&root)?;
        commit::roll_forward(&root)?;
        let tail = if info_path(&root).exists() {
            let catalog = Catalog::load(&root)?;
            // A dataset recorded by LeRobot has no columns of ours: rows are then written without them.
            let plain = Spec { extras: false, ..spec.clone() }.info()?;
            info.follow_camera_ages(&catalog.info);
            let mut differences = catalog.info.differences(&info);
            if catalog.info.differences(&plain).is_empty() {
                differences.clear();
            }
            let unknown = catalog.info.features.iter().filter(|f| !row::is_known(f));
            differences.extend(unknown.map(|f| format!("nothing would fill its column {}", f.key)));
            if !differences.is_empty() {
                return Err(DatasetError::Mismatch { root, differences });
            }
            Tail::of(&root, catalog)?
        } else {
            if let Some(found) = disk::list(&root.join("data"))?.first() {
                let remedy = "Restore it from a copy, or record into another folder";
                return Err(DatasetError::invalid(
                    &info_path(&root),
                    "file",
                    format!("missing beside {}", found.display()),
                    remedy,
                ));
            }
            commit::write_first_info(&root, &info)?;
            Tail::empty(info)
        };
        let info = tail.info.clone();
        let cut = journal::cut_episodes(&root, &info)?;
        let trouble = Trouble::default();
        // Files follow the order of cameras in the dataset, rows that of the spec.
        let place = |key: &str| spec.cameras.iter().position(|c| c.key() == key);
        let picture_of: Vec<usize> = info.videos().filter_map(|f| place(&f.key)).collect();
        let start = |(i, &p): (usize, &usize)| {
            CameraEncoder::start(i, &spec.cameras[p], spec.fps, options.waiting_pictures, trouble.clone())
        };
        let cameras = picture_of.iter().enumerate().map(start).collect::<Result<Vec<_>>>()?;
        let jobs = Arc::new(Queue::default());
        let orders = jobs.clone();
        let (news, events) = channel();
        let saver = Saver {
            root: root.clone(),
            tail,
            open: None,
            news,
            trouble: trouble.clone(),
            check: options.check.clone(),
            references: Vec::new(),
            unsaved: false,
        };
        let saver = std::thread::Builder::new()
            .name("save-episode".into())
            .spawn(move || saver.run(&orders))
            .at(Path::new("a thread"), "start")?;
        Ok(Self {
            root,
            info,
            cameras,
            picture_of,
            jobs,
            saver: Some(saver),
            events,
            trouble,
            cut,
            recording: None,
            task: String::new(),
            note: options.note.clone(),
            begun: 0,
            _lock: lock,
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The dataset as it was when opened.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Episodes that were cut off in earlier sessions.
    pub fn cut_episodes(&self) -> &[CutEpisode] {
        &self.cut
    }

    /// Saves a cut episode with all rows that have their pictures; the result arrives as an [`Event`].
    pub fn recover(&mut self, cut: &CutEpisode, outcome: Outcome) {
        self.cut.retain(|c| c != cut);
        self.send(Job::Recover { dir: cut.dir.clone(), outcome });
    }

    /// Removes a cut episode for good.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub fn discard(&mut self, cut: &CutEpisode) -> Result<()> {
        self.cut.retain(|c| c != cut);
        commit::discard(&self.root, &cut.dir)
    }

    /// Removes the last episode once everything before is saved; an [`Event`] tells. Nothing waits for it, also while the
    /// next episode is recorded. A backup is kept for undoing.
    pub fn remove_last(&mut self) {
        self.send(Job::RemoveLast);
    }

    /// Gives the last episode another verdict once it is saved; an [`Event`] tells.
    pub fn judge_last(&mut self, outcome: Outcome) {
        self.send(Job::JudgeLast(outcome));
    }

    /// Begins an episode.
    ///
    /// # Errors
    /// [`DatasetError::Request`] while one is being recorded, or for an empty task.
    pub fn begin(&mut self, task: &str) -> Result<()> {
        if self.recording.is_some() {
            return Err(DatasetError::request("episode", "one is being recorded", "End or cancel it first"));
        }
        if task.trim().is_empty() {
            return Err(DatasetError::request("task", "the text is empty", "Say what the robot shall do"));
        }
        self.take_trouble()?;
        let started_unix_s = unix_s();
        self.begun += 1;
        // Unique even if the clock stands still: number in this session and process.
        let name = format!("{started_unix_s}-{}-{}", std::process::id(), self.begun);
        let dir = journal::pending_dir(&self.root).join(name);
        let joints = self.info.feature(super::schema::STATE).map_or(0, super::Feature::width);
        let cameras = self.info.videos().map(|f| f.key.clone()).collect();
        self.cameras.iter().for_each(|c| c.begin(&dir));
        let note = self.note.clone();
        self.send(Job::Start { dir, header: Header { task: task.into(), started_unix_s, joints, cameras, note } });
        self.task = task.into();
        self.recording = Some(0);
        Ok(())
    }

    /// Adds a row to the episode. Never waits for encoding or the disk.
    ///
    /// # Errors
    /// [`DatasetError::Request`] for a row that does not fit the dataset (it is not added). Any other error is one of
    /// the background threads': the episode is then cut and stays in the journal.
    pub fn push(&mut self, mut row: Row) -> Result<()> {
        let Some(count) = self.recording else {
            return Err(DatasetError::request("row", "no episode is being recorded", "Call `begin` first"));
        };
        self.check(&row)?;
        if let Err(error) = self.take_trouble() {
            self.cameras.iter().for_each(CameraEncoder::stop);
            self.send(Job::Leave);
            self.recording = None;
            return Err(error);
        }
        for (camera, &place) in self.cameras.iter().zip(&self.picture_of) {
            camera.push(row.images[place].clone());
        }
        if !row.extra.camera_age_s.is_empty() {
            row.extra.camera_age_s = self.picture_of.iter().map(|&place| row.extra.camera_age_s[place]).collect();
        }
        let joints = row.state.len();
        self.send(Job::Row(Record::new(row, joints)));
        self.recording = Some(count + 1);
        Ok(())
    }

    fn check(&self, row: &Row) -> Result<()> {
        let joints = self.info.feature(super::schema::STATE).map_or(0, super::Feature::width);
        let bad = |what: String, problem: String| Err(DatasetError::request(what, problem, "Fill the row completely"));
        let e = &row.extra;
        let lists = [
            ("state", &row.state, false),
            ("action", &row.action, false),
            ("load", &e.load, true),
            ("current_a", &e.current_a, true),
            ("temperature_c", &e.temperature_c, true),
        ];
        for (name, list, may_be_empty) in lists {
            if list.len() != joints && !(may_be_empty && list.is_empty()) {
                return bad(name.into(), format!("{} numbers for {joints} joints", list.len()));
            }
            if let Some(x) = list.iter().find(|x| !x.is_finite()) {
                return bad(name.into(), format!("{x} is no position a dataset can hold"));
            }
        }
        if !(e.capture_s.is_finite() && e.late_s.is_finite() && e.score.is_finite()) {
            return bad("extra".into(), "a clock or score is not a number".into());
        }
        if !(e.camera_age_s.is_empty() || e.camera_age_s.len() == row.images.len())
            || e.camera_age_s.iter().any(|age_s| !age_s.is_finite())
        {
            let problem = format!("{:?} for {} pictures", e.camera_age_s, row.images.len());
            return bad("camera_age_s".into(), problem);
        }
        let cameras: Vec<_> = self.info.videos().collect();
        if row.images.len() != cameras.len() || cameras.len() != self.picture_of.len() {
            return bad("images".into(), format!("{} pictures for {} cameras", row.images.len(), cameras.len()));
        }
        for (feature, &place) in cameras.iter().zip(&self.picture_of) {
            let image = &row.images[place];
            if feature.shape[..2] != [image.height, image.width] || !image.is_consistent() {
                let sizes = format!("{}x{}, not {}x{}", image.width, image.height, feature.shape[1], feature.shape[0]);
                return bad(feature.key.clone(), format!("the picture is {sizes}"));
            }
        }
        Ok(())
    }

    /// Ends the episode and has it saved in the background; [`Writer::events`] tells when it is durable. The next
    /// episode may begin at once. Without rows nothing is saved.
    ///
    /// # Errors
    /// [`DatasetError::Request`] when none is being recorded, or the error that ended it.
    pub fn end(&mut self, outcome: Outcome) -> Result<()> {
        match self.recording.take() {
            None => return Err(DatasetError::request("episode", "none is being recorded", "Call `begin` first")),
            Some(0) => {
                self.drop_episode();
                return Ok(());
            }
            Some(_) => {}
        }
        if let Err(error) = self.take_trouble() {
            self.cameras.iter().for_each(CameraEncoder::stop);
            self.send(Job::Leave);
            return Err(error);
        }
        let mut tracks = Vec::with_capacity(self.cameras.len());
        for camera in &self.cameras {
            let (reply, track) = channel();
            camera.end(reply);
            tracks.push(track);
        }
        self.send(Job::End { outcome, tracks });
        Ok(())
    }

    /// Forgets the episode being recorded, to record it again; nothing to do when there is none.
    pub fn cancel(&mut self) {
        if self.recording.take().is_some() {
            self.drop_episode();
        }
    }

    /// Stops recording the episode and leaves what there is of it in the journal, to be recovered the next time.
    pub fn leave(&mut self) {
        if self.recording.take().is_some() {
            self.cameras.iter().for_each(CameraEncoder::stop);
            self.send(Job::Leave);
        }
    }

    fn drop_episode(&mut self) {
        self.cameras.iter().for_each(CameraEncoder::stop);
        self.send(Job::Cancel);
    }

    /// Rows of the episode being recorded.
    pub fn recorded(&self) -> Option<usize> {
        self.recording
    }

    /// What the saving thread finished since the last call.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.try_iter()
    }

    /// How far encoding is behind: the camera with most pictures waiting, and all pictures lost.
    pub fn load(&self) -> Load {
        let loads: Vec<_> = self.cameras.iter().map(CameraEncoder::load).collect();
        let worst = loads.iter().max_by_key(|l| l.waiting).copied().unwrap_or_default();
        Load { lost: loads.iter().map(|l| l.lost).sum(), ..worst }
    }

    /// Waits until every ended episode is saved and returns the news about them.
    pub fn flush(&self) -> Vec<Event> {
        let (done, wait) = channel();
        self.jobs.send(Job::Flush(done));
        // A thread that ended has dropped `done`: nothing more will come then.
        let _ = wait.recv();
        self.events().collect()
    }

    fn send(&self, job: Job) {
        if !self.jobs.leave(job) {
            report(&self.trouble, DatasetError::Thread { thread: "saving" });
        }
        if self.cameras.iter().any(CameraEncoder::is_finished) {
            report(&self.trouble, DatasetError::Thread { thread: "encoding" });
        }
    }

    fn take_trouble(&self) -> Result<()> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.recording.take().is_some() {
            self.send(Job::Leave);
        }
        self.jobs.close();
        if let Some(saver) = self.saver.take() {
            // Its panic, if any, has left a cut episode, which the next session offers.
            let _ = saver.join();
        }
    }
}
