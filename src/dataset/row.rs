//! One row of an episode: what happened in one tick.

use super::catalog::Episode;
use super::pixels::Image;
use super::schema::{ACTION, DEFAULT_COLUMNS, Feature, Info, STATE, extra};
use super::table::{Column, Values};
use std::sync::Arc;

/// Who decided the target of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// A person, by leader arm, keyboard, gamepad or mouse.
    #[default]
    Human = 0,
    /// A scripted demonstrator.
    Expert = 1,
    /// A learned policy.
    Policy = 2,
    /// A person who took over from a policy.
    Intervention = 3,
}

impl Source {
    /// The source with this number in the column `etude.source`.
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Human, Self::Expert, Self::Policy, Self::Intervention].into_iter().find(|s| *s as i64 == code)
    }
}

/// Verdict over an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// The task was solved.
    Success,
    /// It was not.
    Failure,
    /// Nobody said.
    #[default]
    Unjudged,
}

impl Outcome {
    /// The number in the column `etude.outcome`.
    pub fn code(self) -> i64 {
        match self {
            Self::Success => 1,
            Self::Failure => 0,
            Self::Unjudged => -1,
        }
    }

    /// The verdict with this number; anything unknown counts as not judged.
    pub fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Success,
            0 => Self::Failure,
            _ => Self::Unjudged,
        }
    }
}

/// One tick as handed to the writer.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Measured joint positions, in the dataset's unit, one a joint.
    pub state: Vec<f32>,
    /// Targets really sent, one a joint.
    pub action: Vec<f32>,
    /// One picture for each camera of the [`Spec`](super::Spec), in its order.
    pub images: Vec<Arc<Image>>,
    /// What the `etude.*` columns get.
    pub extra: RowExtra,
}

/// Values of the columns this program adds; see [`extra`] for their meaning and units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowExtra {
    /// Clock of the tick, seconds since the program's start.
    pub capture_s: f64,
    /// Lateness of the tick, seconds.
    pub late_s: f32,
    /// Age of each camera's picture, seconds, in the order of the row's pictures; empty where all are drawn in the tick.
    pub camera_age_s: Vec<f32>,
    /// Load of each servo, fraction of stall torque; empty where there is no servo.
    pub load: Vec<f32>,
    /// Current of each servo, ampere; may be empty.
    pub current_a: Vec<f32>,
    /// Temperature of each servo, degrees Celsius; may be empty.
    pub temperature_c: Vec<f32>,
    /// Progress of the task, 0 to 1.
    pub score: f32,
    /// Whether the task counts as solved.
    pub success: bool,
    /// Who drove.
    pub source: Source,
    /// Seed of the simulated episode, below 2^53.
    pub seed: Option<u64>,
    /// The world it happened in, as one line of JSON; in the first row of an episode whose world was drawn.
    pub world: Option<String>,
}

impl RowExtra {
    /// The seed as its column holds it.
    fn seed_code(&self) -> i64 {
        self.seed.and_then(|seed| i64::try_from(seed).ok()).unwrap_or(-1)
    }
}

/// Begins the cameras' ages in a journal's row; rows of before there were any go on with the world's `{` or end.
const AGES: u8 = b'a';

/// A row without its pictures, every list of joints as long as there are joints.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Record {
    pub(crate) state: Vec<f32>,
    pub(crate) action: Vec<f32>,
    pub(crate) extra: RowExtra,
}

impl Record {
    /// Takes the numbers of a row; missing lists become zeros.
    pub(crate) fn new(row: Row, joints: usize) -> Self {
        let mut extra = row.extra;
        for list in [&mut extra.load, &mut extra.current_a, &mut extra.temperature_c] {
            list.resize(joints, 0.0);
        }
        Self { state: row.state, action: row.action, extra }
    }

    /// Bytes for the journal.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let e = &self.extra;
        let mut bytes = Vec::with_capacity(26 + 20 * self.state.len());
        bytes.extend_from_slice(&e.capture_s.to_le_bytes());
        let lists = [&self.state, &self.action, &e.load, &e.current_a, &e.temperature_c];
        let scalars = [e.late_s, e.score];
        for x in scalars.iter().chain(lists.into_iter().flatten()) {
            bytes.extend_from_slice(&x.to_le_bytes());
        }
        bytes.extend_from_slice(&e.seed_code().to_le_bytes());
        bytes.extend([u8::from(e.success), e.source as u8]);
        if !e.camera_age_s.is_empty() {
            bytes.extend([AGES, e.camera_age_s.len() as u8]);
            bytes.extend(e.camera_age_s.iter().flat_map(|age_s| age_s.to_le_bytes()));
        }
        bytes.extend_from_slice(e.world.as_deref().unwrap_or_default().as_bytes());
        bytes
    }

    /// The inverse of [`Record::to_bytes`]; `None` for bytes of another length.
    pub(crate) fn from_bytes(bytes: &[u8], joints: usize) -> Option<Self> {
        let (clock, rest) = bytes.split_first_chunk::<8>()?;
        let (numbers, flags) = rest.split_at_checked((2 + 5 * joints) * 4)?;
        let (seed, flags) = flags.split_first_chunk::<8>()?;
        let [success, source, ref rest @ ..] = *flags else { return None };
        let (ages, world) = match rest {
            [AGES, count, rest @ ..] => rest.split_at_checked(usize::from(*count) * 4)?,
            rest => (&[][..], rest),
        };
        // Nothing but a line of JSON may follow.
        let world = match world {
            [] => None,
            [b'{', ..] => Some(String::from_utf8(world.to_vec()).ok()?),
            _ => return None,
        };
        let float = |c: &[u8]| f32::from_le_bytes([c[0], c[1], c[2], c[3]]);
        let mut floats = numbers.chunks_exact(4).map(float);
        let (late_s, score) = (floats.next()?, floats.next()?);
        let mut list = || floats.by_ref().take(joints).collect::<Vec<_>>();
        let (state, action, load, current_a, temperature_c) = (list(), list(), list(), list(), list());
        let extra = RowExtra {
            capture_s: f64::from_le_bytes(*clock),
            late_s,
            camera_age_s: ages.chunks_exact(4).map(float).collect(),
            load,
            current_a,
            temperature_c,
            score,
            success: success != 0,
            source: Source::from_code(source.into())?,
            seed: u64::try_from(i64::from_le_bytes(*seed)).ok(),
            world,
        };
        Some(Self { state, action, extra })
    }
}

/// Whether [`columns`] can fill this feature.
pub(crate) fn is_known(feature: &Feature) -> bool {
    let extras = [
        extra::CAPTURE,
        extra::LATE,
        extra::CAMERA_AGE,
        extra::LOAD,
        extra::CURRENT,
        extra::TEMPERATURE,
        extra::SCORE,
        extra::SUCCESS,
        extra::SOURCE,
        extra::OUTCOME,
        extra::SEED,
        extra::WORLD,
    ];
    let key = feature.key.as_str();
    feature.is_video()
        || [STATE, ACTION].contains(&key)
        || extras.contains(&key)
        || DEFAULT_COLUMNS.iter().any(|c| c.0 == key)
}

/// The data columns of an episode, in the order of `info`'s features. All rows belong to task `task`.
pub(crate) fn columns(info: &Info, episode: &Episode, task: usize, outcome: Outcome, rows: &[Record]) -> Vec<Column> {
    let count = rows.len();
    let width = rows.first().map_or(1, |r| r.state.len());
    let floats = |of: &dyn Fn(&Record) -> f32| Values::F32(rows.iter().map(of).collect());
    let whole = |of: &dyn Fn(usize) -> i64| Values::I64((0..count).map(of).collect());
    let cameras = info.feature(extra::CAMERA_AGE).map_or(0, Feature::width);
    let age = |r: &Record, camera: usize| r.extra.camera_age_s.get(camera).copied().unwrap_or(0.0);
    let lists = |of: &dyn Fn(&Record) -> &Vec<f32>| Values::F32(rows.iter().flat_map(of).copied().collect());
    let make = |key: &str| {
        Some(match key {
            STATE => (lists(&|r| &r.state), width),
            ACTION => (lists(&|r| &r.action), width),
            extra::CAPTURE => (Values::F64(rows.iter().map(|r| r.extra.capture_s).collect()), 1),
            extra::LATE => (floats(&|r| r.extra.late_s), 1),
            extra::CAMERA_AGE => {
                (Values::F32(rows.iter().flat_map(|r| (0..cameras).map(|c| age(r, c))).collect()), cameras)
            }
            extra::LOAD => (lists(&|r| &r.extra.load), width),
            extra::CURRENT => (lists(&|r| &r.extra.current_a), width),
            extra::TEMPERATURE => (lists(&|r| &r.extra.temperature_c), width),
            extra::SCORE => (floats(&|r| r.extra.score), 1),
            extra::SUCCESS => (Values::Bool(rows.iter().map(|r| r.extra.success).collect()), 1),
            extra::SOURCE => (whole(&|i| rows[i].extra.source as i64), 1),
            extra::OUTCOME => (whole(&|_| outcome.code()), 1),
            extra::SEED => (whole(&|i| rows[i].extra.seed_code()), 1),
            extra::WORLD => (Values::Text(rows.iter().map(|r| r.extra.world.clone().unwrap_or_default()).collect()), 1),
            "timestamp" => (Values::F32((0..count).map(|i| timestamp_s(i, info.fps)).collect()), 1),
            "frame_index" => (whole(&|i| i as i64), 1),
            "episode_index" => (whole(&|_| episode.index as i64), 1),
            "index" => (whole(&|i| (episode.from + i) as i64), 1),
            "task_index" => (whole(&|_| task as i64), 1),
            _ => return None,
        })
    };
    let column = |f: &Feature| {
        let (values, width) = make(&f.key)?;
        Some(if width == 1 { Column::scalar(&f.key, values) } else { Column::lists(&f.key, values, count, width) })
    };
    info.features.iter().filter_map(column).collect()
}

/// LeRobot's time of a row: its index over the rate, in single precision.
pub(crate) fn timestamp_s(row: usize, fps: u32) -> f32 {
    (row as f64 / f64::from(fps)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_journal_and_damage_is_noticed() {
        let extra = RowExtra {
            capture_s: 12.5,
            late_s: 0.001,
            load: vec![0.1, -0.2],
            score: 0.75,
            success: true,
            source: Source::Intervention,
            seed: Some(7),
            ..Default::default()
        };
        let row = Row { state: vec![1.0, f32::MIN], action: vec![-0.0, 3.5], images: Vec::new(), extra };
        let record = Record::new(row, 2);
        assert_eq!(record.extra.current_a, [0.0, 0.0]);
        let bytes = record.to_bytes();
        assert_eq!(Record::from_bytes(&bytes, 2), Some(record.clone()));
        assert_eq!(Record::from_bytes(&bytes[1..], 2), None);
        assert_eq!(Record::from_bytes(&bytes, 3), None);
        let told = Record { extra: RowExtra { world: Some("{\"look\":1}".into()), ..record.extra.clone() }, ..record };
        assert_eq!(Record::from_bytes(&told.to_bytes(), 2), Some(told.clone()));
        let aged = Record { extra: RowExtra { camera_age_s: vec![0.02, 0.3], ..told.extra.clone() }, ..told };
        assert_eq!(Record::from_bytes(&aged.to_bytes(), 2), Some(aged));
        assert_eq!(Record::from_bytes(&[bytes, vec![b'x']].concat(), 2), None);
    }
}
