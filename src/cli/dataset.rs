//! `etude dataset`: look at recorded datasets, check, edit and export them.

use super::dataset_text::{Overview, stats_table};
use super::{CliError, say};
use crate::arm::load_urdf;
use crate::config::{self, ArmConfig};
use crate::dataset::check::{self, CheckOptions};
use crate::dataset::edit::{self, Edited};
use crate::dataset::{Dataset, DatasetError, Segments, export, schema};
use crate::joint_units::JointUnits;
use clap::{Args, Subcommand};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Verbs of `etude dataset`.
#[derive(Subcommand, Debug)]
pub(super) enum DatasetVerb {
    /// What a dataset holds.
    Info {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look through the episodes: cameras, joints, score, findings; delete and trim them.
    View(super::dataset_view::ViewArgs),
    /// Quality report: what is wrong, in which rows, and what to do about it.
    Check(CheckArgs),
    /// Statistics of every column, as training uses them.
    Stats {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// Only this column, such as action.
        #[arg(long, value_name = "COLUMN")]
        column: Option<String>,
        /// Write meta/stats.json anew from the statistics of the episodes first.
        #[arg(long)]
        rewrite: bool,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove episodes; those after them move up. `undo` brings them back.
    Delete {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// Episodes, such as 3,7-9.
        #[arg(long, value_name = "LIST")]
        episodes: Episodes,
    },
    /// Keep only some rows of an episode. `undo` brings the others back.
    Trim {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// The episode.
        #[arg(long, value_name = "NUMBER")]
        episode: usize,
        /// Rows to keep, first and last, such as 12-240, 12- or -240.
        #[arg(long, value_name = "FIRST-LAST", allow_hyphen_values = true)]
        rows: Rows,
    },
    /// Mark the segments of a demonstration for `etude generate --from`, where they are not found by themselves.
    Mark(MarkArgs),
    /// Copy episodes into a new dataset.
    Split {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// Episodes, such as 0-4,9.
        #[arg(long, value_name = "LIST")]
        episodes: Episodes,
        /// Folder of the new dataset.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Put the episodes of several datasets, one after the other, into a new one; also makes v3.0 of v2.1.
    Merge {
        /// Folders of the datasets.
        #[arg(required = true)]
        datasets: Vec<PathBuf>,
        /// Folder of the new dataset.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Put the episodes into few large files, as LeRobot keeps them.
    Compact {
        /// Folder of the dataset.
        dataset: PathBuf,
    },
    /// Take back the last delete, trim or compact.
    Undo {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// Instead, remove what is kept for undoing, for good, to free its space.
        #[arg(long)]
        forget: bool,
    },
    /// Draw simulated episodes again in other looks: light, colours, textures, cameras, joint zeros.
    Redraw(super::redraw::RedrawArgs),
    /// Rows as CSV, or an episode's pictures on one sheet.
    Export(ExportArgs),
}

/// Options of `etude dataset check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Folder of the dataset.
    dataset: PathBuf,
    /// Arm whose joint limits are watched: a name in configs/arm/ or a .ron file.
    #[arg(long, default_value = "so100", value_name = "NAME")]
    arm: String,
    /// Look at every n-th picture only; 0 leaves the pictures out.
    #[arg(long, default_value_t = 1, value_name = "N")]
    picture_step: usize,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `etude dataset mark`.
#[derive(Args, Debug)]
pub(super) struct MarkArgs {
    /// Folder of the dataset.
    dataset: PathBuf,
    /// The episode.
    #[arg(long, value_name = "NUMBER")]
    episode: usize,
    /// When the jaws close on the object; without it when it is lifted.
    #[arg(long, value_name = "SECONDS")]
    close: Option<f64>,
    /// When the object leaves the table.
    #[arg(long, value_name = "SECONDS", required_unless_present = "clear", requires = "rest")]
    lift: Option<f64>,
    /// When the object lies where it stays.
    #[arg(long, value_name = "SECONDS", requires = "lift")]
    rest: Option<f64>,
    /// Take the marks away.
    #[arg(long, conflicts_with_all = ["close", "lift", "rest"])]
    clear: bool,
}

/// Options of `etude dataset export`.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// Folder of the dataset.
    dataset: PathBuf,
    /// Write the rows into this CSV file.
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Write pictures of one episode, from its beginning to its end, onto one sheet.
    #[arg(long, value_name = "FILE.png")]
    png: Option<PathBuf>,
    /// Episodes, such as 0-4,9; without it all, for the sheet the first.
    #[arg(long, value_name = "LIST", visible_alias = "episode")]
    episodes: Option<Episodes>,
    /// Pictures of each camera on the sheet.
    #[arg(long, default_value_t = 12, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=200))]
    pictures: u16,
    /// Width of a picture on the sheet, pixels.
    #[arg(long, default_value_t = 160, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(16..=1024))]
    width: u16,
}

/// A list of episodes: `3,7-9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Episodes(Vec<usize>);

impl Episodes {
    /// The numbers in the order in which they were given.
    pub(super) fn numbers(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Episodes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || format!("\"{text}\" is no list of episodes; give numbers and ranges from 0, such as 3,7-9");
        let mut list = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < 1_000_000);
            let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(remedy()) };
            if first > last {
                return Err(remedy());
            }
            list.extend((first..=last).filter(|n| !list.contains(n)).collect::<Vec<_>>());
        }
        Ok(Self(list))
    }
}

/// Rows from first to last: `12-240`, `12-` or `-240`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    first: usize,
    last: Option<usize>,
}

impl FromStr for Rows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || format!("\"{text}\" are no rows; give the first and the last to keep, such as 12-240");
        let (first, last) = text.split_once('-').ok_or_else(remedy)?;
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| remedy());
        let first = if first.is_empty() { 0 } else { number(first)? };
        let last = if last.is_empty() { None } else { Some(number(last)?) };
        if last.is_some_and(|last| last < first) { Err(remedy()) } else { Ok(Self { first, last }) }
    }
}

impl Rows {
    fn of(self, length: usize) -> Range<usize> {
        self.first..self.last.map_or(length, |last| last.saturating_add(1))
    }
}

pub(super) fn run(verb: &DatasetVerb) -> Result<(), CliError> {
    match verb {
        DatasetVerb::Info { dataset, json } => {
            let overview = Overview::of(&open(dataset)?)?;
            say(if *json { serde_json::to_string_pretty(&overview).unwrap_or_default() } else { overview.to_string() })
        }
        DatasetVerb::Check(args) => check(args),
        DatasetVerb::View(args) => super::dataset_view::view(args),
        DatasetVerb::Stats { dataset, column, rewrite, json } => stats(dataset, column.as_deref(), *rewrite, *json),
        DatasetVerb::Delete { dataset, episodes } => {
            // Asked before the edit, which would leave its lock behind.
            let before = open(dataset)?;
            episodes.0.iter().try_for_each(|episode| before.episode(*episode).map(|_| ()))?;
            edited(dataset, &edit::delete(dataset, &episodes.0)?)
        }
        DatasetVerb::Trim { dataset, episode, rows } => {
            let length = open(dataset)?.episode(*episode)?.length;
            let rows = rows.of(length);
            if rows.end > length || rows.is_empty() {
                let (first, last) = (rows.start, rows.end - 1);
                return Err(CliError::Usage(format!(
                    "--rows {first}-{last}: episode {episode} has the rows 0-{}; give some of them",
                    length - 1
                )));
            }
            edited(dataset, &edit::trim(dataset, *episode, rows)?)
        }
        DatasetVerb::Mark(args) => mark(args),
        DatasetVerb::Split { dataset, episodes, out } => {
            open(dataset)?;
            edited(out, &edit::split(dataset, &episodes.0, out)?)
        }
        DatasetVerb::Merge { datasets, out } => {
            for dataset in datasets {
                open(dataset)?;
            }
            edited(out, &edit::merge(datasets, out)?)
        }
        DatasetVerb::Compact { dataset } => {
            open(dataset)?;
            edited(dataset, &edit::compact(dataset)?)
        }
        DatasetVerb::Undo { dataset, forget: true } => {
            open(dataset)?;
            edit::forget_backups(dataset)?;
            say(format!("{}: nothing is kept for undoing any more", dataset.display()))
        }
        DatasetVerb::Undo { dataset, forget: false } => {
            // No dataset is opened before: undo is also what helps when an edit left a broken one.
            there_is(dataset)?;
            let name = edit::undo(dataset)?;
            let now = open(dataset)?;
            say(format!("{}: took back \"{name}\"; it has {}", dataset.display(), size(&now)))
        }
        DatasetVerb::Redraw(args) => super::redraw::redraw(args),
        DatasetVerb::Export(args) => export(args),
    }
}

/// Opens a dataset; a folder that is none is answered in words a person can act on.
pub(super) fn open(root: &Path) -> Result<Dataset, CliError> {
    there_is(root)?;
    Ok(Dataset::open(root)?)
}

fn there_is(root: &Path) -> Result<(), CliError> {
    if root.join("meta").is_dir() || root.join(".etude").is_dir() {
        return Ok(());
    }
    let problem = if root.is_dir() { "it holds no dataset (no meta/info.json)" } else { "there is no such folder" };
    let remedy = "Give the folder that holds meta/, data/ and videos/";
    let (what, problem, remedy) = (root.display().to_string(), problem.into(), remedy.into());
    Err(DatasetError::Request { what, problem, remedy }.into())
}

/// "1 episode", "7 episodes".
pub(super) fn episodes(count: usize) -> String {
    counted(count, "episode")
}

/// A count with its word, `s` added unless it is one.
pub(super) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn size(dataset: &Dataset) -> String {
    format!("{}, {} rows", episodes(dataset.episodes().len()), dataset.len())
}

fn edited(root: &Path, edited: &Edited) -> Result<(), CliError> {
    let undo = match &edited.backup {
        Some(_) => format!("; `etude dataset undo {}` takes it back", root.display()),
        None => String::new(),
    };
    say(format!("{}: {}, {} rows{undo}", root.display(), episodes(edited.episodes), edited.frames))
}

fn mark(args: &MarkArgs) -> Result<(), CliError> {
    let before = open(&args.dataset)?;
    let (length, fps) = (before.episode(args.episode)?.length, f64::from(before.info().fps));
    drop(before);
    let row = |name: &str, seconds: f64| {
        let row = (seconds * fps).round();
        if row.is_finite() && (0.0..length as f64).contains(&row) {
            return Ok(row as usize);
        }
        let last = (length - 1) as f64 / fps;
        Err(CliError::Usage(format!("{name} {seconds}: episode {} lasts from 0 to {last:.2} s", args.episode)))
    };
    let segments = match (args.lift, args.rest) {
        (Some(lift), Some(rest)) => {
            let close = row("--close", args.close.unwrap_or(lift))?;
            Some(Segments { close, lift: row("--lift", lift)?, rest: row("--rest", rest)? })
        }
        _ => None,
    };
    edit::mark(&args.dataset, args.episode, segments)?;
    let told = match segments {
        Some(Segments { close, lift, rest }) => format!("closes at row {close}, lifts at {lift}, sets down at {rest}"),
        None => "has no marks any more".into(),
    };
    let root = args.dataset.display();
    say(format!("{root}: episode {} {told}; `etude dataset undo {root}` takes it back", args.episode))
}

fn check(args: &CheckArgs) -> Result<(), CliError> {
    let dataset = open(&args.dataset)?;
    let limits = limits(&dataset, &args.arm)?;
    if limits.is_none() {
        eprintln!("etude: its joints are not those of arm {}: clipping at joint limits is not looked for", args.arm);
    }
    let options = CheckOptions { limits, picture_step: args.picture_step, ..CheckOptions::default() };
    let report = check::dataset(&dataset, &options)?;
    let text = if args.json { report.to_json() } else { report.to_string() };
    say(text.trim_end())
}

/// Joint limits in LeRobot's numbers, if the dataset's joints are those of `arm`.
pub(super) fn limits(dataset: &Dataset, arm: &str) -> Result<Option<Vec<[f32; 2]>>, CliError> {
    let config: ArmConfig = config::load_named("configs/arm", arm).map_err(crate::app::AppError::from)?;
    let urdf = config::home().map_err(crate::app::AppError::from)?.join(&config.urdf);
    let units = JointUnits::new(&load_urdf(&urdf)?);
    let names = dataset.info().feature(schema::ACTION).map(|feature| feature.names.clone()).unwrap_or_default();
    let same = names
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| name.as_str())
        .eq(units.names().iter().map(|n| Some(n.as_str())));
    Ok(same.then(|| units.limits().to_vec()))
}

fn stats(root: &Path, column: Option<&str>, rewrite: bool, json: bool) -> Result<(), CliError> {
    open(root)?;
    if rewrite {
        edit::restat(root)?;
    }
    let dataset = open(root)?;
    let known: Vec<&str> =
        dataset.info().features.iter().map(|f| f.key.as_str()).filter(|key| dataset.stats(key).is_some()).collect();
    // Counters and columns of zeros tell nothing; they are there for those who ask.
    let tells = |key: &&str| {
        let zero = dataset.stats(key).is_some_and(|s| s.min.iter().chain(&s.max).all(|x| *x == 0.0));
        !zero && !schema::DEFAULT_COLUMNS.iter().any(|(name, _)| name == key)
    };
    let chosen: Vec<&str> = match column {
        None if json => known,
        None => known.into_iter().filter(tells).collect(),
        Some(column) if known.contains(&column) => vec![column],
        Some(column) => {
            return Err(CliError::Usage(format!("--column {column}: give one of {}", known.join(", "))));
        }
    };
    if chosen.is_empty() {
        let hint = "record an episode, or run `etude dataset stats --rewrite`";
        return Err(CliError::Usage(format!("{}: there are no statistics; {hint}", root.display())));
    }
    if json {
        let entries: serde_json::Map<_, _> =
            chosen.iter().filter_map(|key| Some((key.to_string(), dataset.stats(key)?.to_json()))).collect();
        return say(serde_json::to_string_pretty(&entries).unwrap_or_default());
    }
    say(stats_table(&dataset, &chosen).trim_end())
}

fn export(args: &ExportArgs) -> Result<(), CliError> {
    if args.csv.is_none() && args.png.is_none() {
        return Err(CliError::Usage("export: give --csv FILE.csv, --png FILE.png or both".into()));
    }
    let dataset = open(&args.dataset)?;
    let episodes = args.episodes.as_ref().map_or(&[][..], |list| &list.0);
    if let Some(file) = &args.csv {
        // Before the file is made: a wrong number shall not leave an empty one.
        episodes.iter().try_for_each(|episode| dataset.episode(*episode).map(|_| ()))?;
        export::csv(&dataset, episodes, file)?;
        say(format!(
            "{}: rows of {}",
            file.display(),
            if episodes.is_empty() { "all episodes" } else { "the episodes" }
        ))?;
    }
    if let Some(file) = &args.png {
        let episode = episodes.first().copied().unwrap_or(0);
        if episodes.len() > 1 {
            return Err(CliError::Usage("--png: a sheet shows one episode; give one with --episode".into()));
        }
        let sheet = export::contact_sheet(&dataset, episode, args.pictures.into(), args.width.into())?;
        export::png(&sheet, file)?;
        say(format!("{}: episode {episode}, {}x{} pixels", file.display(), sheet.width, sheet.height))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn episode_lists_are_read_and_nonsense_is_refused() {
        assert_eq!("3,7-9, 8".parse(), Ok(Episodes(vec![3, 7, 8, 9])));
        for text in ["", "a", "-1", "3-", "9-7", "1,,2", "99999999"] {
            assert!(text.parse::<Episodes>().is_err(), "{text}");
        }
    }

    #[test]
    fn rows_are_counted_from_the_first_to_the_last() {
        let rows = |text: &str| text.parse::<Rows>().map(|rows| rows.of(100));
        assert_eq!(rows("12-40"), Ok(12..41));
        assert_eq!((rows("12-"), rows("-40")), (Ok(12..100), Ok(0..41)));
        for text in ["", "12", "40-12", "x-3", "--3"] {
            assert!(rows(text).is_err(), "{text}");
        }
    }
}
