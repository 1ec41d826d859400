//! Best and last attempts of a person per task, in a small file, and the ghosts beside it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Version of the file.
const VERSION: u32 = 1;
/// Attempts kept per task, newest first.
const KEPT: usize = 10;
/// Seeds whose best attempt is kept per task.
const SEEDS_KEPT: usize = 200;
/// Environment variable that names the folder of scores and ghosts.
pub const FOLDER_VARIABLE: &str = "ETUDE_DATA";

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Seed of its start.
    pub seed: u64,
    /// Whether the task was done.
    pub success: bool,
    /// Score at the end, 0 to 1.
    pub score: f64,
    /// Time on the clock, s.
    pub seconds: f64,
}

impl Attempt {
    /// Whether this attempt beats `other`: done before not done, then sooner, and among failures the higher score.
    pub fn beats(&self, other: &Self) -> bool {
        match (self.success, other.success) {
            (true, true) => self.seconds < other.seconds,
            (false, false) => self.score > other.score,
            (mine, _) => mine,
        }
    }
}

/// A person's record in one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    /// Attempts made.
    pub attempts: u64,
    /// Attempts in which the task was done.
    pub successes: u64,
    /// The best of all.
    pub best: Option<Attempt>,
    /// The best from each start.
    pub best_by_seed: BTreeMap<u64, Attempt>,
    /// The latest, newest first.
    pub last: Vec<Attempt>,
}

/// What an attempt improved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Improved {
    /// It is the best of this task.
    pub best: bool,
    /// It is the best from this start.
    pub best_of_seed: bool,
}

impl TaskRecord {
    /// Adds an attempt.
    pub fn add(&mut self, attempt: Attempt) -> Improved {
        let beats = |old: Option<&Attempt>| old.is_none_or(|old| attempt.beats(old));
        let improved =
            Improved { best: beats(self.best.as_ref()), best_of_seed: beats(self.best_by_seed.get(&attempt.seed)) };
        self.attempts += 1;
        self.successes += u64::from(attempt.success);
        if improved.best {
            self.best = Some(attempt);
        }
        if improved.best_of_seed
            && (self.best_by_seed.len() < SEEDS_KEPT || self.best_by_seed.contains_key(&attempt.seed))
        {
            self.best_by_seed.insert(attempt.seed, attempt);
        }
        self.last.insert(0, attempt);
        self.last.truncate(KEPT);
        improved
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreFile {
    version: u32,
    tasks: BTreeMap<String, TaskRecord>,
}

/// The scores of all tasks and the folder they are kept in.
#[derive(Clone, Debug, Default)]
pub struct ScoreBook {
    folder: Option<PathBuf>,
    tasks: BTreeMap<String, TaskRecord>,
    /// What went wrong with the files, for the person to see.
    pub complaint: Option<String>,
}

impl ScoreBook {
    /// Opens the book of this user: in `ETUDE_DATA` if set, else in the system's folder for program data.
    pub fn of_user() -> Self {
        let folder =
            std::env::var_os(FOLDER_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from).or_else(|| {
                directories::ProjectDirs::from("", "", "etude").map(|folders| folders.data_dir().to_path_buf())
            });
        match folder {
            Some(folder) => Self::open(&folder),
            None => Self {
                complaint: Some(format!("no home folder: scores are not kept; set {FOLDER_VARIABLE} to a folder")),
                ..Self::default()
            },
        }
    }

    /// Opens the book in `folder`. A broken file is moved aside and said so; a missing one is an empty book.
    pub fn open(folder: &Path) -> Self {
        let mut book = Self { folder: Some(folder.to_path_buf()), ..Self::default() };
        let file = folder.join("scores.ron");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return book,
            Err(error) => {
                // Not ours to overwrite what could not be read.
                book.folder = None;
                book.complaint = Some(format!("{}: {error}; scores are not kept", file.display()));
                return book;
            }
        };
        match parse(&text) {
            Ok(tasks) => book.tasks = tasks,
            Err(problem) => {
                let aside = folder.join("scores.broken.ron");
                let moved = std::fs::rename(&file, &aside);
                let where_to =
                    if moved.is_ok() { format!("moved to {}", aside.display()) } else { "left there".into() };
                book.complaint = Some(format!("{}: {problem}; {where_to}, scores start anew", file.display()));
            }
        }
        book
    }

    /// A book that is not kept on disk.
    pub fn unkept() -> Self {
        Self::default()
    }

    /// The record of a task.
    pub fn task(&self, name: &str) -> TaskRecord {
        self.tasks.get(name).cloned().unwrap_or_default()
    }

    /// Adds an attempt and writes the file.
    pub fn add(&mut self, task: &str, attempt: Attempt) -> Improved {
        let improved = self.tasks.entry(task.to_string()).or_default().add(attempt);
        if let Some(folder) = &self.folder
            && let Err(problem) = save(&folder.join("scores.ron"), &self.tasks)
        {
            self.complaint = Some(problem);
        }
        improved
    }

    /// File of the ghost of a task, of one start or of all; `None` if nothing is kept.
    pub fn ghost_file(&self, task: &str, seed: Option<u64>) -> Option<PathBuf> {
        // Task names come from file names; what is no plain word stays out of ours.
        let task: String =
            task.chars().map(|c| if c.is_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
        let name = seed.map_or_else(|| format!("{task}.ghost"), |seed| format!("{task}.{seed}.ghost"));
        Some(self.folder.as_ref()?.join("ghosts").join(name))
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, TaskRecord>, String> {
    let file: ScoreFile =
        ron::from_str(text).map_err(|error| format!("line {}: {}", error.span.start.line, error.code))?;
    if file.version != VERSION {
        return Err(format!("version {} is not {VERSION}, the one this program writes", file.version));
    }
    let sound = |attempt: &Attempt| (0.0..=1.0).contains(&attempt.score) && (0.0..1e6).contains(&attempt.seconds);
    for (name, record) in &file.tasks {
        if !record.best.iter().chain(record.best_by_seed.values()).chain(&record.last).all(sound) {
            return Err(format!("tasks.{name}: a score or time is out of range"));
        }
    }
    Ok(file.tasks)
}

fn save(file: &Path, tasks: &BTreeMap<String, TaskRecord>) -> Result<(), String> {
    let contents = ScoreFile { version: VERSION, tasks: tasks.clone() };
    let text = ron::ser::to_string_pretty(&contents, ron::ser::PrettyConfig::default())
        .map_err(|error| format!("{}: {error}", file.display()))?;
    write_whole(file, text.as_bytes()).map_err(|error| format!("{}: {error}; scores are not kept", file.display()))
}

/// Writes a file whole or not at all: beside it first, then in its place.
///
/// # Errors
/// What the system says.
pub fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let written = std::fs::File::create(&beside).and_then(|mut new| {
        new.write_all(bytes)?;
        new.sync_all()
    });
    written.and_then(|()| std::fs::rename(&beside, file)).inspect_err(|_| {
        let _ = std::fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(seed: u64, success: bool, score: f64, seconds: f64) -> Attempt {
        Attempt { seed, success, score, seconds }
    }

    #[test]
    fn done_beats_not_done_then_time_then_score() {
        let slow = attempt(1, true, 0.91, 20.0);
        let fast = attempt(1, true, 0.90, 10.0);
        let poor = attempt(1, false, 0.2, 60.0);
        let close = attempt(1, false, 0.8, 60.0);
        assert!(fast.beats(&slow) && !slow.beats(&fast));
        assert!(slow.beats(&close) && !close.beats(&slow));
        assert!(close.beats(&poor) && !poor.beats(&close) && !fast.beats(&fast));
    }

    #[test]
    fn the_book_remembers_across_openings() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = ScoreBook::open(folder.path());
        assert_eq!(book.task("move_t"), TaskRecord::default());
        assert!(book.add("move_t", attempt(7, true, 0.93, 12.0)).best);
        let improved = book.add("move_t", attempt(8, true, 0.93, 14.0));
        assert_eq!(improved, Improved { best: false, best_of_seed: true });
        for _ in 0..20 {
            book.add("move_t", attempt(8, false, 0.5, 60.0));
        }
        assert!(book.complaint.is_none());
        let again = ScoreBook::open(folder.path());
        assert_eq!(again.task("move_t"), book.task("move_t"));
        let record = again.task("move_t");
        assert_eq!((record.attempts, record.successes, record.last.len()), (22, 2, KEPT));
        assert_eq!(record.best.map(|best| best.seconds), Some(12.0));
        assert_eq!(again.task("pick_place"), TaskRecord::default());
    }

    #[test]
    fn broken_files_are_moved_aside_and_said_so() {
        let future = "(version: 99, tasks: {})";
        let mad = "(version: 1, tasks: {\"x\": (attempts: 1, successes: 0, best: None, best_by_seed: {}, last: \
                   [(seed: 1, success: false, score: 7.0, seconds: 1.0)])})";
        for text in ["nonsense", future, mad, "(version: 1, tasks: {}, more: 1)", ""] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("scores.ron"), text).unwrap();
            let mut book = ScoreBook::open(folder.path());
            let complaint = book.complaint.take().unwrap();
            assert!(complaint.contains("scores.ron") && complaint.contains("scores.broken.ron"), "{complaint}");
            assert_eq!(std::fs::read_to_string(folder.path().join("scores.broken.ron")).unwrap(), text);
            book.add("x", attempt(1, true, 1.0, 1.0));
            assert!(ScoreBook::open(folder.path()).complaint.is_none());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_complaint_and_not_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut book = ScoreBook::open(&file.join("below"));
        book.add("x", attempt(1, true, 1.0, 1.0));
        assert!(book.complaint.is_some());
        assert_eq!(book.task("x").attempts, 1);
    }

    #[test]
    fn ghost_files_stay_in_their_folder() {
        let book = ScoreBook::open(Path::new("/data"));
        let file = book.ghost_file("../../etc/passwd", Some(3)).unwrap();
        assert_eq!(file.parent(), Some(Path::new("/data/ghosts")));
        assert!(ScoreBook::unkept().ghost_file("move_t", None).is_none());
    }
}
