//! The trace of an attempt: joint angles and object poses of every tick on the clock, for ghosts to race and for plots.

use crate::control::{Control, ControlRate, ControlSystems};
use crate::episode::{Episode, EpisodeStarted};
use crate::robot::{Arm, JointState};
use crate::world::{ActiveScene, PropBody, PropState};
use bevy::prelude::*;
use bevy_rapier3d::rapier::math::{Pose, Rotation, Vector};
use std::path::{Path, PathBuf};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// First bytes of a trace file.
const MAGIC: &[u8; 8] = b"ETUDEtr\x01";
/// Ticks kept of one attempt; a longer one is traced up to here.
const MOST_TICKS: usize = 40_000;
/// Numbers per object pose: position, then rotation x y z w.
const POSE: usize = 7;
/// Largest plausible count of joints or objects in a file.
const MOST_PARTS: u32 = 256;

/// Why a trace file was refused.
#[derive(Debug, Error)]
pub enum TraceError {
    /// It could not be read or written.
    #[error("trace {file}: {source}; check the folder and its permissions")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no trace, or a damaged one.
    #[error("trace {file}: {problem}; delete it, the next good attempt writes a new one")]
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What happened in an attempt, tick by tick on its clock; tick 0 is the start.
#[derive(Resource, Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Name of the scene.
    pub scene: String,
    /// Seed of the start.
    pub seed: u64,
    /// Ticks per second.
    pub hz: u32,
    joints: usize,
    props: usize,
    /// Per tick: score, joint angles (rad), object poses.
    numbers: Vec<f32>,
}

/// A moment of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Joint angles, rad.
    pub q_rad: Vec<f64>,
    /// Object poses, in the scene's order.
    pub props: Vec<Pose>,
}

impl Trace {
    /// An empty trace of an arm with `joints` joints and `props` objects.
    pub fn new(scene: &str, seed: u64, hz: u32, joints: usize, props: usize) -> Self {
        Self { scene: scene.into(), seed, hz, joints, props, numbers: Vec::new() }
    }

    fn stride(&self) -> usize {
        1 + self.joints + POSE * self.props
    }

    /// Number of ticks.
    pub fn len(&self) -> usize {
        self.numbers.len() / self.stride()
    }

    /// Whether nothing has been traced.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Whether it is of an arm with this many joints and a scene with this many objects.
    pub fn fits(&self, joints: usize, props: usize) -> bool {
        !self.is_empty() && (self.joints, self.props) == (joints, props)
    }

    /// Length on the clock, s.
    pub fn seconds(&self) -> f64 {
        self.len().saturating_sub(1) as f64 / f64::from(self.hz.max(1))
    }

    /// Score of every tick.
    pub fn scores(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.numbers.chunks_exact(self.stride()).map(|tick| tick[0])
    }

    /// Notes tick `clock_tick`; tick 0 is overwritten until the clock runs.
    fn note(&mut self, clock_tick: usize, score: f32, q_rad: &[f64], props: &[Pose]) {
        let known = self.len();
        if q_rad.len() != self.joints || props.len() != self.props || clock_tick > known || known >= MOST_TICKS {
            return;
        }
        if clock_tick == 0 {
            self.numbers.clear();
        } else if clock_tick < known {
            return;
        }
        if clock_tick == 1
            && let Some(first) = self.numbers.first_mut()
        {
            // The start has not been scored; nothing has moved yet.
            *first = score;
        }
        self.numbers.push(score);
        self.numbers.extend(q_rad.iter().map(|q| *q as f32));
        for pose in props {
            self.numbers.extend(pose.translation.to_array());
            self.numbers.extend(pose.rotation.to_array());
        }
    }

    /// State at a time on the clock, s, between ticks interpolated; its last state after its end.
    pub fn at(&self, seconds: f64) -> Option<Moment> {
        let last = self.len().checked_sub(1)?;
        let place = (seconds.max(0.0) * f64::from(self.hz)).min(last as f64);
        let (index, share) = (place.floor() as usize, place.fract());
        let (a, b) = (self.moment(index)?, self.moment((index + 1).min(last))?);
        Some(Moment {
            q_rad: a.q_rad.iter().zip(&b.q_rad).map(|(a, b)| a + (b - a) * share).collect(),
            props: a.props.iter().zip(&b.props).map(|(a, b)| lerp(a, b, share as f32)).collect(),
        })
    }

    fn moment(&self, index: usize) -> Option<Moment> {
        let tick = self.numbers.chunks_exact(self.stride()).nth(index)?;
        let (joints, props) = tick[1..].split_at(self.joints);
        Some(Moment {
            q_rad: joints.iter().map(|q| f64::from(*q)).collect(),
            props: props
                .chunks_exact(POSE)
                .map(|p| {
                    let rotation = Rotation::from_xyzw(p[3], p[4], p[5], p[6]);
                    Pose::from_parts(Vector::new(p[0], p[1], p[2]), rotation)
                })
                .collect(),
        })
    }

    /// As bytes: magic, checksum of the rest, seed, rate, counts, scene name, numbers; all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + 4 * self.numbers.len());
        body.extend(self.seed.to_le_bytes());
        for count in [self.hz, self.joints as u32, self.props as u32, self.scene.len() as u32, self.len() as u32] {
            body.extend(count.to_le_bytes());
        }
        body.extend(self.scene.as_bytes());
        body.extend(self.numbers.iter().flat_map(|value| value.to_le_bytes()));
        let mut bytes = MAGIC.to_vec();
        bytes.extend(xxh3_64(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// From [`Self::to_bytes`].
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (magic, rest) = bytes.split_at_checked(8).ok_or("it is too short")?;
        if magic != MAGIC {
            return Err("it is no trace of this version".into());
        }
        let (sum, body) = rest.split_at_checked(8).ok_or("it is too short")?;
        if sum != xxh3_64(body).to_le_bytes() {
            return Err("its checksum does not match its contents".into());
        }
        let (seed, body) = body.split_first_chunk::<8>().ok_or("it is too short")?;
        let (counts, body) = body.split_first_chunk::<20>().ok_or("it is too short")?;
        let count = |index: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| counts[4 * index + byte]));
        let (hz, joints, props, name, ticks) = (count(0), count(1), count(2), count(3) as usize, count(4) as usize);
        if hz == 0 || hz > 1000 || joints > MOST_PARTS || props > MOST_PARTS {
            return Err("its counts are impossible".into());
        }
        let (name, body) = body.split_at_checked(name).ok_or("it is too short")?;
        let scene = String::from_utf8(name.to_vec()).map_err(|_| "its scene has no name")?;
        let mut trace = Self::new(&scene, u64::from_le_bytes(*seed), hz, joints as usize, props as usize);
        let expected = trace.stride().checked_mul(ticks).and_then(|n| n.checked_mul(4));
        if expected != Some(body.len()) {
            return Err("its length does not fit its counts".into());
        }
        trace.numbers = body.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        if trace.numbers.iter().any(|value| !value.is_finite()) {
            return Err("it holds numbers that are not finite".into());
        }
        Ok(trace)
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`TraceError::Io`].
    pub fn save(&self, file: &Path) -> Result<(), TraceError> {
        crate::scores::write_whole(file, &self.to_bytes())
            .map_err(|source| TraceError::Io { file: file.to_path_buf(), source })
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// [`TraceError`] if it cannot be read or is no whole trace.
    pub fn load(file: &Path) -> Result<Option<Self>, TraceError> {
        match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TraceError::Io { file: file.to_path_buf(), source }),
            Ok(bytes) => Self::from_bytes(&bytes)
                .map(Some)
                .map_err(|problem| TraceError::Broken { file: file.to_path_buf(), problem }),
        }
    }
}

fn lerp(a: &Pose, b: &Pose, share: f32) -> Pose {
    Pose::from_parts(a.translation.lerp(b.translation, share), a.rotation.slerp(b.rotation, share))
}

/// Traces every episode.
pub fn plugin(app: &mut App) {
    app.init_resource::<Trace>();
    app.add_systems(Control, record.after(ControlSystems::Record));
    app.add_observer(
        |start: On<EpisodeStarted>,
         mut trace: ResMut<Trace>,
         rate: Res<ControlRate>,
         scene: Res<ActiveScene>,
         arms: Query<&Arm>,
         states: Query<&JointState>,
         props: Query<(&PropBody, &PropState)>| {
            let Some(arm) = arms.iter().next() else { return };
            let (q, poses) = (arm.positions_rad(&states), poses_of(&props));
            *trace = Trace::new(&scene.name, start.seed, rate.hz, q.len(), poses.len());
            trace.note(0, 0.0, &q, &poses);
        },
    );
}

fn record(
    mut trace: ResMut<Trace>,
    episode: Res<Episode>,
    arms: Query<&Arm>,
    states: Query<&JointState>,
    props: Query<(&PropBody, &PropState)>,
) {
    let Some(arm) = arms.iter().next() else { return };
    let q = arm.positions_rad(&states);
    trace.note(episode.clock_ticks as usize, episode.score.value as f32, &q, &poses_of(&props));
}

/// Poses of all objects, in the scene's order.
fn poses_of(props: &Query<(&PropBody, &PropState)>) -> Vec<Pose> {
    let mut poses: Vec<(usize, Pose)> = props.iter().map(|(prop, state)| (prop.index, state.motion.pose)).collect();
    poses.sort_unstable_by_key(|(index, _)| *index);
    poses.into_iter().map(|(_, pose)| pose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunOptions;
    use crate::headless::Headless;
    use proptest::prelude::*;

    fn small() -> Trace {
        let mut trace = Trace::new("move_t", 7, 30, 2, 1);
        let pose = |x: f32| Pose::from_parts(Vector::new(x, 0.0, 0.0), Rotation::IDENTITY);
        trace.note(0, 0.1, &[9.0, 9.0], &[pose(9.0)]);
        trace.note(0, 0.0, &[0.0, 0.0], &[pose(0.0)]);
        trace.note(1, 0.5, &[1.0, -1.0], &[pose(0.2)]);
        trace
    }

    #[test]
    fn time_runs_between_ticks_and_stands_at_the_end() {
        let trace = small();
        assert_eq!(trace.len(), 2, "the start is noted once");
        let half = trace.at(0.5 / 30.0).unwrap();
        assert!((half.q_rad[0] - 0.5).abs() < 1e-6 && (half.props[0].translation.x - 0.1).abs() < 1e-6);
        assert_eq!(trace.at(99.0).unwrap().q_rad, vec![1.0, -1.0]);
        assert_eq!(trace.at(-1.0), trace.at(0.0));
        assert!(Trace::default().at(0.0).is_none());
    }

    #[test]
    fn ticks_of_another_size_or_out_of_order_are_not_noted() {
        let mut trace = small();
        trace.note(2, 0.0, &[0.0], &[]);
        trace.note(7, 0.0, &[0.0, 0.0], &[Pose::IDENTITY]);
        trace.note(1, 0.0, &[0.0, 0.0], &[Pose::IDENTITY]);
        assert_eq!(trace, small());
    }

    #[test]
    fn a_file_comes_back_as_it_was_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper/move_t.ghost");
        assert!(Trace::load(&file).unwrap().is_none());
        small().save(&file).unwrap();
        assert_eq!(Trace::load(&file).unwrap().unwrap(), small());
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() - 9;
        bytes[middle] ^= 0x40;
        std::fs::write(&file, bytes).unwrap();
        let complaint = Trace::load(&file).unwrap_err().to_string();
        assert!(complaint.contains("move_t.ghost") && complaint.contains("checksum"), "{complaint}");
    }

    #[test]
    fn an_episode_is_traced_to_its_end() {
        let mut headless = Headless::new(&RunOptions::default()).unwrap();
        plugin(&mut headless.app);
        let report = headless.run(3).unwrap();
        let trace = headless.app.world().resource::<Trace>();
        assert!((trace.seconds() - report.seconds).abs() < 1e-9, "{} {}", trace.seconds(), report.seconds);
        assert_eq!((trace.seed, trace.scene.as_str()), (3, "move_t"));
        assert!((f64::from(trace.scores().last().unwrap()) - report.score).abs() < 1e-6);
        let mut plain = Headless::new(&RunOptions::default()).unwrap();
        assert_eq!(plain.run(3).unwrap().digest, report.digest, "tracing leaves the episode alone");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Trace::from_bytes(&bytes).is_err());
            let mut signed = MAGIC.to_vec();
            signed.extend(xxh3_64(&bytes).to_le_bytes());
            signed.extend(&bytes);
            let _ = Trace::from_bytes(&signed);
        }
    }
}
