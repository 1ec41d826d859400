//! The quality report: what is wrong with an episode or a dataset, in which rows, and what to do about it. Made while
//! an episode is saved, and again from the files at any time.

use super::check_pictures::{moved_camera, picture_findings};
use super::check_rows::{EpisodeRows, row_findings};
use super::encode::CameraReport;
use super::error::Result;
use super::measure::{Measurer, Thumbnail};
use super::reader::{Dataset, Rows};
use super::row::Outcome;
use super::schema::{ACTION, STATE, extra};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a [`Finding`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A camera gave the same picture throughout while the arm moved.
    DeadCamera,
    /// A picture was the one before it again while the arm moved.
    RepeatedPictures,
    /// Pictures were lost because encoding could not keep up.
    LostPictures,
    /// A joint moved faster than it can.
    Jump,
    /// The motion trembles.
    Jerk,
    /// Nothing happens at the beginning.
    IdleHead,
    /// Nothing happens at the end.
    IdleTail,
    /// The target stayed at a joint's limit.
    Clipping,
    /// Ticks came late.
    Late,
    /// Pictures are blurred compared with the others.
    Blur,
    /// Pictures are too dark.
    Dark,
    /// Large parts of pictures are white.
    Saturated,
    /// The camera does not stand where it stood in the first episode.
    CameraMoved,
    /// The episode is unlike the others.
    Outlier,
    /// Successes, failures and episodes without verdict.
    Balance,
}

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Look at it before training.
    Warning,
    /// Training on it does harm.
    Bad,
}

/// Something noticed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// The camera or column.
    pub subject: String,
    /// Rows of the episode, first and last of each run; empty when all are meant.
    pub frames: Vec<[usize; 2]>,
    /// What was seen, with numbers.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// Findings of one episode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpisodeReport {
    /// The episode.
    pub episode: usize,
    /// Its rows.
    pub frames: usize,
    /// Its length in seconds.
    pub seconds: f64,
    /// Its verdict: true, false or none.
    pub success: Option<bool>,
    /// What was noticed, worst first.
    pub findings: Vec<Finding>,
}

/// Findings of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Findings about the whole.
    pub dataset: Vec<Finding>,
    /// One entry an episode.
    pub episodes: Vec<EpisodeReport>,
}

/// Thresholds, in the dataset's own unit (degrees for the SO-100).
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// A joint faster than this jumped, unit a second. An STS3215 turns about 270 degrees a second without load.
    pub max_speed: f32,
    /// Smaller motions count as rest, unit.
    pub rest: f32,
    /// Rest at either end longer than this is worth cutting off, seconds.
    pub idle_s: f64,
    /// Lower and upper limit of each joint; without them clipping is not looked for.
    pub limits: Option<Vec<[f32; 2]>>,
    /// Look at every n-th picture; 0 leaves pictures out.
    pub picture_step: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { max_speed: 400.0, rest: 1.0, idle_s: 1.0, limits: None, picture_step: 1 }
    }
}

/// Checks one episode from its rows and the measures of its pictures.
pub(crate) fn episode(rows: &EpisodeRows, cameras: &[CameraReport], options: &CheckOptions) -> EpisodeReport {
    let mut findings = row_findings(rows, options);
    for camera in cameras {
        findings.extend(picture_findings(rows, camera, options));
    }
    sort(&mut findings);
    let success = match rows.outcome {
        Outcome::Success => Some(true),
        Outcome::Failure => Some(false),
        Outcome::Unjudged => None,
    };
    let (episode, frames) = (rows.episode, rows.len());
    EpisodeReport { episode, frames, seconds: frames as f64 / f64::from(rows.fps), success, findings }
}

fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.kind.cmp(&b.kind)));
}

/// The columns that are checked, of all episodes.
struct Columns<'a> {
    dataset: &'a Dataset,
    state: Arc<Rows>,
    action: Arc<Rows>,
    late: Option<Arc<Rows>>,
    outcomes: Vec<f64>,
    names: Vec<String>,
    cameras: Vec<String>,
}

impl<'a> Columns<'a> {
    fn read(dataset: &'a Dataset) -> Result<Self> {
        let has = |key: &str| dataset.info().feature(key).is_some();
        let names = dataset.info().feature(STATE).map(|f| f.names.clone()).unwrap_or_default();
        let names = names.as_array().into_iter().flatten().filter_map(|n| n.as_str().map(String::from)).collect();
        let cameras = dataset.info().features.iter().filter(|f| f.is_visual()).map(|f| f.key.clone()).collect();
        Ok(Self {
            state: dataset.rows(STATE)?,
            action: dataset.rows(ACTION)?,
            late: if has(extra::LATE) { Some(dataset.rows(extra::LATE)?) } else { None },
            outcomes: if has(extra::OUTCOME) { dataset.scalars(extra::OUTCOME)? } else { Vec::new() },
            dataset,
            names,
            cameras,
        })
    }

    /// The numbers of an episode and, unless pictures are left out, the measures of its pictures.
    fn episode(&self, entry: &super::Episode, options: &CheckOptions) -> Result<(EpisodeRows, Vec<CameraReport>)> {
        let cut = |rows: &Rows| rows.values[entry.from * rows.width..entry.rows().end * rows.width].to_vec();
        let (state, action) = (&self.state, &self.action);
        let rows = EpisodeRows {
            episode: entry.index,
            fps: self.dataset.info().fps,
            names: self.names.clone(),
            width: state.width,
            state: cut(state),
            action: if action.width == state.width { cut(action) } else { Vec::new() },
            late_s: self.late.as_deref().map(cut).unwrap_or_default(),
            outcome: self.outcomes.get(entry.from).map_or(Outcome::Unjudged, |&o| Outcome::from_code(o as i64)),
        };
        let cameras = self.cameras.iter().filter(|_| options.picture_step > 0);
        let measure = |camera: &String| measure(self.dataset, entry, camera, options.picture_step);
        Ok((rows, cameras.map(measure).collect::<Result<_>>()?))
    }
}

/// Checks one episode from the files; what only a comparison with all others tells is left out.
///
/// # Errors
/// When there is no such episode, or its rows or pictures cannot be read.
pub fn one(dataset: &Dataset, index: usize, options: &CheckOptions) -> Result<EpisodeReport> {
    let columns = Columns::read(dataset)?;
    let (rows, cameras) = columns.episode(dataset.episode(index)?, options)?;
    let mut report = episode(&rows, &cameras, options);
    if options.picture_step > 0 && index > 0 {
        compare_views(&mut report, &references(dataset.root()), &cameras);
    }
    Ok(report)
}

/// Checks a dataset from its files.
///
/// # Errors
/// When rows or pictures cannot be read.
pub fn dataset(dataset: &Dataset, options: &CheckOptions) -> Result<Report> {
    let columns = Columns::read(dataset)?;
    let cameras = &columns.cameras;
    let mut report = Report { dataset: Vec::new(), episodes: Vec::new() };
    let mut references: Vec<Option<Thumbnail>> = vec![None; cameras.len()];
    let mut sharpness: Vec<Vec<f32>> = vec![Vec::new(); cameras.len()];
    let mut summaries = Vec::new();
    for entry in dataset.episodes() {
        let (rows, reports) = columns.episode(entry, options)?;
        let mut found = episode(&rows, &reports, options);
        compare_views(&mut found, &references, &reports);
        for (i, camera) in reports.iter().enumerate() {
            references[i] = references[i].take().or_else(|| camera.first.clone());
            let mut values: Vec<f32> = camera.frames.iter().map(|m| m.sharpness).collect();
            sharpness[i].push(median(&mut values));
        }
        sort(&mut found.findings);
        summaries.push(rows.summary());
        report.episodes.push(found);
    }
    for (camera, values) in cameras.iter().zip(&sharpness) {
        soft_episodes(camera, values, &mut report.episodes);
    }
    outliers(&summaries, &mut report.episodes);
    report.dataset.extend(balance(&report.episodes));
    Ok(report)
}

/// The first picture of each camera, small: what later episodes are compared with. `None` for a camera of which
/// there is none yet, or whose video cannot be read.
pub(crate) fn references(root: &Path) -> Vec<Option<Thumbnail>> {
    let Ok(dataset) = Dataset::open(root) else { return Vec::new() };
    let first = |key: &str| {
        let image = dataset.frame(0, key).ok()?;
        let mut measurer = Measurer::default();
        measurer.image(&image);
        measurer.first.take()
    };
    dataset.info().videos().map(|f| first(&f.key)).collect()
}

/// Adds to a report what the first pictures tell against those of the first episode.
pub(crate) fn compare_views(report: &mut EpisodeReport, references: &[Option<Thumbnail>], cameras: &[CameraReport]) {
    for (reference, camera) in references.iter().zip(cameras) {
        let reference = reference.as_ref();
        report.findings.extend(reference.and_then(|r| moved_camera(&camera.key, r, camera.first.as_ref())));
    }
    sort(&mut report.findings);
}

/// Measures of an episode's pictures; those between the looked-at ones repeat the measure before.
fn measure(dataset: &Dataset, episode: &super::Episode, camera: &str, step: usize) -> Result<CameraReport> {
    let mut report = CameraReport { key: camera.into(), ..CameraReport::default() };
    let mut measurer = Measurer::default();
    for row in (0..episode.length).step_by(step) {
        let image = dataset.frame(episode.from + row, camera)?;
        let measure = measurer.image(&image);
        let repeats = step.min(episode.length - row);
        report.frames.extend(std::iter::repeat_n(measure, repeats));
    }
    report.first = measurer.first.take();
    Ok(report)
}

/// The middle value; 0 for none.
pub(crate) fn median(values: &mut [f32]) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Episodes whose pictures are much softer than the others': the focus changed.
fn soft_episodes(camera: &str, values: &[f32], episodes: &mut [EpisodeReport]) {
    let usual = median(&mut values.to_vec());
    for (&value, episode) in values.iter().zip(episodes) {
        if values.len() >= 3 && value < usual * 0.4 {
            episode.findings.push(Finding {
                kind: Kind::Blur,
                severity: Severity::Warning,
                subject: camera.into(),
                frames: Vec::new(),
                message: format!("the pictures are {:.0} % as sharp as in the other episodes", value / usual * 100.0),
                advice: "Clean the lens and lock the focus; record the episode again".into(),
            });
        }
    }
}

/// Episodes that differ from the others in length, way or starting pose by more than chance explains.
fn outliers(summaries: &[Vec<(String, f32)>], episodes: &mut [EpisodeReport]) {
    let Some(first) = summaries.first().filter(|_| summaries.len() >= 5) else { return };
    for (i, (name, _)) in first.iter().enumerate() {
        let values: Vec<f32> = summaries.iter().filter_map(|s| s.get(i).map(|v| v.1)).collect();
        let middle = median(&mut values.clone());
        let mut distances: Vec<f32> = values.iter().map(|v| (v - middle).abs()).collect();
        // 1.48 makes the median distance comparable with a standard deviation; a tenth of the value is always usual.
        let spread = (median(&mut distances) * 1.48).max(middle.abs() * 0.1).max(1.0);
        for (value, episode) in values.iter().zip(episodes.iter_mut()) {
            if (value - middle).abs() > 5.0 * spread {
                episode.findings.push(Finding {
                    kind: Kind::Outlier,
                    severity: Severity::Warning,
                    subject: name.clone(),
                    frames: Vec::new(),
                    message: format!("{name} is {value:.1}, in the other episodes about {middle:.1}"),
                    advice: "Look at the episode; delete it if it does not show the task".into(),
                });
            }
        }
    }
}

fn balance(episodes: &[EpisodeReport]) -> Option<Finding> {
    let count = |verdict: Option<bool>| episodes.iter().filter(|e| e.success == verdict).count();
    let (good, bad, open) = (count(Some(true)), count(Some(false)), count(None));
    let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let (successes, failures) = (plural(good, "success", "successes"), plural(bad, "failure", "failures"));
    let message = format!("{successes}, {failures}, {open} without verdict");
    let (severity, advice) = match (good, bad, open) {
        (0, 0, _) => (Severity::Note, "Mark success or failure when recording, so that failures can be left out"),
        (_, 0, 0) => (Severity::Note, "Nothing to do: every episode shows the task solved"),
        (g, b, _) if b * 2 > g => {
            (Severity::Bad, "Delete the failures before training by imitation, or record more successes")
        }
        (_, b, _) if b > 0 => (Severity::Warning, "Delete the failures before training by imitation"),
        _ => (Severity::Note, "Mark the episodes without verdict"),
    };
    let subject = "outcome".to_string();
    let finding =
        Finding { kind: Kind::Balance, severity, subject, frames: Vec::new(), message, advice: advice.into() };
    (!episodes.is_empty()).then_some(finding)
}

impl Report {
    /// The report as JSON with four spaces of indent.
    pub fn to_json(&self) -> String {
        super::schema::to_pretty(self)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mark = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Bad => "bad",
        };
        write!(f, "{mark}: {}: {}", self.subject, self.message)?;
        if !self.frames.is_empty() {
            let runs: Vec<String> = self.frames.iter().take(6).map(|[a, b]| format!("{a}-{b}")).collect();
            let more = if self.frames.len() > 6 { ", …" } else { "" };
            write!(f, " (rows {}{more})", runs.join(", "))?;
        }
        write!(f, ". {}.", self.advice)
    }
}

impl fmt::Display for EpisodeReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let verdict = self.success.map_or("not judged", |s| if s { "success" } else { "failure" });
        write!(f, "episode {}: {} rows, {:.1} s, {verdict}", self.episode, self.frames, self.seconds)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for episode in &self.episodes {
            writeln!(f, "{episode}")?;
        }
        self.dataset.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}
