//! Synthetic episodes of the planar Push-T: the same runs of parts, shards and workers as for the arm.

use super::maker::column;
use super::plan::{self, Shard};
use super::run::{Made, Progress, Told, Work, carry_out};
use super::{Camera, GenerateError};
use crate::dataset::bulk::{Numbers, PictureEncoder, WholeEpisode};
use crate::dataset::schema::{self, ACTION, STATE, extra};
use crate::dataset::{CameraSpec, Feature, Image, Info, Outcome, Source, Spec};
use crate::push_t_2d::{
    Action, CAMERA, CONTROL_HZ, JOINTS, PICTURE, PlanarExpert, PushT2d, SENTENCE, StepResult, WORKSPACE,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Draws of an episode that are not its start use seeds far from all others.
const OWN_DRAWS: u64 = 0x706c_616e_6172_2e2e;
/// How much of the noise is left after a step.
const CORRELATION: f64 = 0.7;
/// Chance that a push begins in a step; its length in steps; its size in units of the amplitude.
const PUSH: (f64, (u32, u32), f64) = (0.02, (2, 5), 4.0);
/// Starts in the middle of the task: so far is the T from its outline at most, pixels and rad.
const MIDDLE: (f64, f64) = (90.0, 1.0);
/// Room between finger and T's frame at such a start, pixels.
const CLEAR: f64 = 150.0;
/// What the simulation knows: pose of the T's frame, pixels.
const LABELS: [&str; 4] = ["tee.x_px", "tee.y_px", "tee.cos_yaw", "tee.sin_yaw"];
/// Amplitude of the episode's noise, pixels, float32.
const NOISE: &str = "etude.noise_px";

/// Everything that decides what is in the dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanarSettings {
    /// Always `push_t_2d`.
    pub task: String,
    /// Episodes of the whole run.
    pub episodes: u64,
    /// Seed of the first episode; the next ones count up.
    pub seed: u64,
    /// Whether failures are kept too.
    pub keep_all: bool,
    /// Whether there are pictures, of 96x96 pixels as published.
    pub pictures: bool,
    /// H.264 quantiser of the pictures.
    pub quantiser: u8,
    /// Steps of the column [`column::CHUNK`]; 0 leaves it out.
    pub chunk: u32,
    /// Amplitudes of the noise on the finger's target, pixels; each episode draws one.
    pub noise_px: Vec<f64>,
    /// Share of episodes that start with the T near its outline.
    pub random_start: f64,
    /// Version of this program.
    pub etude: String,
}

impl PlanarSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`GenerateError::Option`] naming the option and what it may be.
    pub fn validate(&self) -> Result<(), GenerateError> {
        let bad = |option, problem: String, remedy: &str| {
            Err(GenerateError::Option { option, problem, remedy: remedy.into() })
        };
        // The published starts know 32 bits of a seed; attempts at the same episode take seeds above.
        if self.seed.checked_add(self.episodes).is_none_or(|end| end > plan::SEEDS_END) {
            return bad("--seed", format!("{} is too large", self.seed), "give a seed below 4000000000");
        }
        if self.noise_px.iter().any(|noise| !(0.0..=100.0).contains(noise)) {
            return bad("--noise", format!("{:?}", self.noise_px), "give amplitudes from 0 to 100 pixels, such as 0,8");
        }
        if !(0.0..=1.0).contains(&self.random_start) {
            return bad("--random-start", self.random_start.to_string(), "give a share from 0 to 1");
        }
        if self.quantiser > 51 {
            return bad("--quantiser", self.quantiser.to_string(), "give 0 to 51; smaller is better and larger");
        }
        Ok(())
    }

    fn camera() -> Camera {
        Camera { name: CAMERA.into(), width: PICTURE as u32, height: PICTURE as u32 }
    }

    fn info(&self) -> Result<Info, GenerateError> {
        let camera = Self::camera();
        let (width, height) = (camera.width as usize, camera.height as usize);
        let spec = Spec {
            fps: CONTROL_HZ,
            robot_type: "planar_finger".into(),
            joints: JOINTS.map(String::from).to_vec(),
            cameras: if self.pictures { vec![CameraSpec { name: camera.name, width, height }] } else { Vec::new() },
            extras: false,
        };
        let mut info = spec.info()?;
        let defaults = info.features.split_off(info.features.len() - schema::DEFAULT_COLUMNS.len());
        let scalar = |key, dtype| Feature::column(key, dtype, 1, Value::Null);
        info.features.push(Feature::column(column::SENT, "float32", JOINTS.len(), json!(JOINTS)));
        if self.chunk > 0 {
            let steps = self.chunk as usize;
            let names: Vec<String> =
                (0..steps).flat_map(|step| JOINTS.map(move |name| format!("{name}@{step}"))).collect();
            let mut chunk = Feature::column(column::CHUNK, "float32", names.len(), json!(names));
            let about = json!({"steps": steps, "joints": JOINTS.len(), "hz": CONTROL_HZ});
            chunk.rest = Map::from_iter([("info".to_string(), about)]);
            info.features.push(chunk);
        }
        info.features.push(Feature::column(column::LABELS, "float32", LABELS.len(), json!(LABELS)));
        info.features.extend([
            scalar(NOISE, "float32"),
            scalar(column::SEED, "int64"),
            scalar(extra::CAPTURE, "float64"),
            scalar(extra::SCORE, "float32"),
            scalar(extra::SUCCESS, "bool"),
            scalar(extra::SOURCE, "int64"),
            scalar(extra::OUTCOME, "int64"),
        ]);
        info.features.extend(defaults);
        Ok(info)
    }
}

/// Generates the dataset of `settings`, or its `shard`, in the folder `root`; as [`super::run()`].
///
/// # Errors
/// [`GenerateError`]; what was made until then is kept and used by the next call.
pub fn run_planar(
    settings: &PlanarSettings,
    (shard, workers): (Shard, usize),
    root: &Path,
    watch: impl FnMut(&Progress),
) -> Result<Made, GenerateError> {
    settings.validate()?;
    let episodes = shard.episodes(settings.episodes);
    if episodes.is_empty() {
        let problem = format!("{} episodes leave none for shard {}/{}", settings.episodes, shard.index, shard.count);
        let remedy = "give more --episodes or fewer shards".into();
        return Err(GenerateError::Option { option: "--shard", problem, remedy });
    }
    let about = |tried: Option<u64>| {
        let mut made = json!({"settings": settings});
        if shard.count > 1 {
            made["shard"] = json!(format!("{}/{}", shard.index, shard.count));
        }
        if let Some(tried) = tried {
            made["tried"] = json!(tried);
        }
        made
    };
    let work = Planes { settings, info: settings.info()? };
    carry_out(&work, episodes, workers, root, &about, watch)
}

struct Planes<'a> {
    settings: &'a PlanarSettings,
    info: Info,
}

impl Work for Planes<'_> {
    type Worker = ();

    fn hire(&self) -> Result<(), GenerateError> {
        Ok(())
    }

    fn info(&self, (): &()) -> Info {
        self.info.clone()
    }

    fn make(&self, (): &mut (), episode: u64, told: &mut Told) -> Result<Vec<WholeEpisode>, GenerateError> {
        for attempt in 0..plan::MOST_ATTEMPTS {
            let seed = plan::seed(self.settings.seed, episode, attempt);
            let (made, steps) = self.attempt(seed)?;
            told.attempt(usize::from(made.is_some()), steps.into());
            if let Some(made) = made {
                return Ok(vec![made]);
            }
            if told.stops() {
                break;
            }
        }
        let first = plan::seed(self.settings.seed, episode, 0);
        Err(GenerateError::Hopeless { episode, attempts: plan::MOST_ATTEMPTS, seed: first })
    }

    fn looks(&self) -> u64 {
        1
    }
}

/// One row of an episode.
struct Row {
    state: [f32; 2],
    clean: Action,
    sent: Action,
    chunk: Vec<f32>,
    labels: [f32; 4],
    score: f32,
    success: bool,
}

impl Planes<'_> {
    /// The episode of `seed`, unless it is not to be kept, and its steps.
    fn attempt(&self, seed: u64) -> Result<(Option<WholeEpisode>, u32), GenerateError> {
        let settings = self.settings;
        let mut draws = ChaCha8Rng::seed_from_u64(seed ^ OWN_DRAWS);
        let amplitude_px = match settings.noise_px.len() {
            0 => 0.0,
            count => settings.noise_px[draws.random_range(0..count)],
        };
        let in_the_middle = draws.random::<f64>() < settings.random_start;
        let mut world = start(seed, in_the_middle, &mut draws);
        let mut expert = PlanarExpert::default();
        let mut noise = Noise { amplitude_px, steady: [0.0; 2], push: [0.0; 2], push_steps: 0, draws };
        let mut pictures = match settings.pictures {
            true => Some(PictureEncoder::new(PICTURE, PICTURE, CONTROL_HZ, settings.quantiser)?),
            false => None,
        };
        let mut rows = Vec::new();
        loop {
            let seen = world.observation();
            if let Some(pictures) = &mut pictures {
                pictures.add(&Image { width: PICTURE, height: PICTURE, rgb: seen.picture })?;
            }
            let labels = labels(&world);
            let clean = expert.act(&world);
            let chunk = look_ahead(&world, &expert, clean, settings.chunk as usize);
            let sent = noise.added_to(clean);
            let StepResult { reward, success, done, .. } = world.step(sent);
            rows.push(Row { state: seen.agent_position, clean, sent, chunk, labels, score: reward as f32, success });
            if done {
                break;
            }
        }
        let (steps, success) = (world.steps(), rows.last().is_some_and(|row| row.success));
        if !(success || settings.keep_all) {
            return Ok((None, steps));
        }
        let pictures = pictures.map(PictureEncoder::finish).transpose()?.into_iter().collect();
        let columns = self.columns(&rows, seed, amplitude_px, success);
        Ok((Some(WholeEpisode { rows: rows.len(), task: SENTENCE.into(), columns, pictures }), steps))
    }

    fn columns(&self, rows: &[Row], seed: u64, amplitude_px: f64, success: bool) -> Vec<(String, Numbers)> {
        let count = rows.len();
        let same = |value: i64| Numbers::I64(vec![value; count]);
        let each = |of: &dyn Fn(&Row) -> Vec<f32>| Numbers::F32(rows.iter().flat_map(of).collect());
        let outcome = if success { Outcome::Success } else { Outcome::Failure };
        let mut columns = Vec::new();
        for feature in &self.info.features {
            let numbers = match feature.key.as_str() {
                ACTION => each(&|row| row.clean.to_vec()),
                STATE => each(&|row| row.state.to_vec()),
                column::SENT => each(&|row| row.sent.to_vec()),
                column::CHUNK => each(&|row| row.chunk.clone()),
                column::LABELS => each(&|row| row.labels.to_vec()),
                NOISE => Numbers::F32(vec![amplitude_px as f32; count]),
                column::SEED => same(i64::try_from(seed).unwrap_or(-1)),
                extra::CAPTURE => Numbers::F64((0..count).map(|row| row as f64 / f64::from(CONTROL_HZ)).collect()),
                extra::SCORE => each(&|row| vec![row.score]),
                extra::SUCCESS => Numbers::Bool(rows.iter().map(|row| row.success).collect()),
                extra::SOURCE => same(Source::Expert as i64),
                extra::OUTCOME => same(outcome.code()),
                _ => continue,
            };
            columns.push((feature.key.clone(), numbers));
        }
        columns
    }
}

/// The published start of `seed`, or one with the T near its outline.
fn start(seed: u64, in_the_middle: bool, draws: &mut ChaCha8Rng) -> PushT2d {
    if !in_the_middle {
        return PushT2d::new(seed);
    }
    let (x, y, yaw) = crate::push_t_2d::GOAL;
    let mut about = |middle: f64, reach: f64| middle + reach * (2.0 * draws.random::<f64>() - 1.0);
    let tee = (about(x, MIDDLE.0), about(y, MIDDLE.0), about(yaw, MIDDLE.1));
    loop {
        let middle = 0.5 * WORKSPACE;
        let finger = (about(middle, 0.8 * middle), about(middle, 0.8 * middle));
        if (finger.0 - tee.0).hypot(finger.1 - tee.1) > CLEAR {
            return PushT2d::at(finger, tee);
        }
    }
}

fn labels(world: &PushT2d) -> [f32; 4] {
    let [_, _, x, y, yaw] = world.state();
    let (sin, cos) = yaw.sin_cos();
    [x, y, cos, sin].map(|value| value as f32)
}

/// What the expert would do in this and the next steps, in a copy of the world: `steps` actions, the first of which is `now`.
fn look_ahead(world: &PushT2d, expert: &PlanarExpert, now: Action, steps: usize) -> Vec<f32> {
    if steps == 0 {
        return Vec::new();
    }
    let (mut world, mut expert) = (world.clone(), expert.clone());
    let mut actions = now.to_vec();
    let mut action = now;
    while actions.len() < steps * JOINTS.len() {
        // Where the T is where it should be, the finger stays.
        if !world.step(action).success {
            action = expert.act(&world);
        }
        actions.extend(action);
    }
    actions
}

/// Noise on the finger's target.
struct Noise {
    amplitude_px: f64,
    steady: [f64; 2],
    push: [f64; 2],
    push_steps: u32,
    draws: ChaCha8Rng,
}

impl Noise {
    fn added_to(&mut self, clean: Action) -> Action {
        // Keeps the standard deviation of the correlated noise at the amplitude.
        let fresh = (1.0 - CORRELATION * CORRELATION).sqrt();
        for axis in 0..2 {
            self.steady[axis] = CORRELATION * self.steady[axis] + fresh * self.gauss();
        }
        let (chance, (least, most), size) = PUSH;
        if self.push_steps > 0 {
            self.push_steps -= 1;
        } else if self.draws.random::<f64>() < chance {
            self.push_steps = self.draws.random_range(least..=most) - 1;
            self.push = [size * self.gauss(), size * self.gauss()];
        } else {
            self.push = [0.0; 2];
        }
        std::array::from_fn(|axis| {
            let offset = self.amplitude_px * (self.steady[axis] + self.push[axis]);
            (f64::from(clean[axis]) + offset).clamp(0.0, WORKSPACE) as f32
        })
    }

    /// A number of mean 0 and standard deviation 1, by adding: the same bits with every mathematical library.
    fn gauss(&mut self) -> f64 {
        (0..6).map(|_| self.draws.random::<f64>() - 0.5).sum::<f64>() * std::f64::consts::SQRT_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_ahead_happens_without_noise_and_noise_is_not_in_the_labels() {
        let settings = |noise: f64| PlanarSettings {
            task: crate::push_t_2d::NAME.into(),
            episodes: 1,
            seed: 0,
            keep_all: true,
            pictures: false,
            quantiser: 14,
            chunk: 4,
            noise_px: vec![noise],
            random_start: 0.0,
            etude: String::new(),
        };
        let attempt = |noise: f64| {
            let settings = settings(noise);
            let work = Planes { settings: &settings, info: settings.info().unwrap() };
            work.attempt(5).unwrap().0.unwrap().columns
        };
        let column = |columns: &[(String, Numbers)], key: &str| match &columns.iter().find(|c| c.0 == key).unwrap().1 {
            Numbers::F32(values) => values.clone(),
            other => panic!("{other:?}"),
        };
        let clean = attempt(0.0);
        let (action, chunk) = (column(&clean, ACTION), column(&clean, column::CHUNK));
        assert_eq!(action, column(&clean, column::SENT));
        for row in 0..action.len() / 2 - 4 {
            assert_eq!(chunk[row * 8..][..8], action[row * 2..][..8], "row {row}");
        }
        let disturbed = attempt(10.0);
        let (action, sent) = (column(&disturbed, ACTION), column(&disturbed, column::SENT));
        let apart = action.iter().zip(&sent).map(|(a, b)| (a - b).abs()).sum::<f32>() / sent.len() as f32;
        assert!((4.0..40.0).contains(&apart), "{apart}");
    }

    #[test]
    fn settings_that_cannot_be_are_refused_by_their_option() {
        let good = PlanarSettings {
            task: crate::push_t_2d::NAME.into(),
            episodes: 1,
            seed: 0,
            keep_all: false,
            pictures: true,
            quantiser: 14,
            chunk: 0,
            noise_px: vec![8.0],
            random_start: 0.3,
            etude: String::new(),
        };
        assert!(good.validate().is_ok());
        for (bad, word) in [
            (PlanarSettings { seed: u64::MAX, ..good.clone() }, "--seed"),
            (PlanarSettings { noise_px: vec![-1.0], ..good.clone() }, "--noise"),
            (PlanarSettings { random_start: 2.0, ..good.clone() }, "--random-start"),
            (PlanarSettings { quantiser: 60, ..good.clone() }, "--quantiser"),
        ] {
            assert!(bad.validate().unwrap_err().to_string().starts_with(word));
        }
    }
}
