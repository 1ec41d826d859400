//! The published planar Push-T (Florence et al. 2021, Chi et al. 2023; `gym-pusht`): a small world of its own, so that our
//! figures compare with published ones. Same geometry, dynamics constants, starts, picture and reward; no arm, no Bevy.
//!
//! A round finger shall push a T onto its outline. An episode is 300 steps of 0.1 s at most; its published score is the
//! greatest reward in it, and it is a success when the coverage exceeds 0.95.

mod expert;
mod physics;
mod picture;
mod start;

pub use expert::PlanarExpert;
pub use physics::{FINGER, GOAL, Plane, STEP_S, WORKSPACE, corners};
pub use picture::PICTURE;
pub use start::published_start;

use crate::task::convex_overlap_m2;

/// What the task is called on the command line.
pub const NAME: &str = "push_t_2d";
/// The sentence of the task.
pub const SENTENCE: &str = "Push the T onto its outline";
/// Names of the finger's coordinates in datasets, in LeRobot's manner; pixels.
pub const JOINTS: [&str; 2] = ["finger_x.pos", "finger_y.pos"];
/// Name of its camera in datasets.
pub const CAMERA: &str = "plane";
/// Steps of an episode at most.
pub const MAX_STEPS: u32 = 300;
/// Control steps a second.
pub const CONTROL_HZ: u32 = 10;
/// Coverage above which the T is where it should be; the reward is the coverage in parts of it.
pub const SUCCESS_COVERAGE: f64 = 0.95;
/// Physics steps of a control step.
const SUBSTEPS: u32 = 10;
/// Area of the T, pixels².
const TEE_AREA: f64 = 7.0 * physics::STROKE * physics::STROKE;

/// Where the finger shall go: x, y in pixels, 0 to 512.
pub type Action = [f32; 2];

/// What a policy sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// `PICTURE` rows of `PICTURE` pixels, 8 bit RGB.
    pub picture: Vec<u8>,
    /// Where the finger is, pixels.
    pub agent_position: [f32; 2],
}

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Coverage over 0.95, at most 1.
    pub reward: f64,
    /// Share of the T's area inside the outline, 0 to 1.
    pub coverage: f64,
    /// The T is where it should be.
    pub success: bool,
    /// Success, or all steps are used.
    pub done: bool,
}

/// A world of the planar Push-T. A clone is a snapshot: it goes on just like the original.
#[derive(Clone, Debug, PartialEq)]
pub struct PushT2d {
    plane: Plane,
    steps: u32,
    best_reward: f64,
}

impl PushT2d {
    /// The start of the episode of `seed`, the same as the published environment's.
    pub fn new(seed: u64) -> Self {
        let (finger, tee) = published_start(seed);
        Self { plane: Plane::new(finger, tee), steps: 0, best_reward: 0.0 }
    }

    /// A start of one's own: finger x, y; x, y of the T's frame in pixels, and its turn in rad.
    pub fn at(finger: (f64, f64), (x, y, angle): (f64, f64, f64)) -> Self {
        // The published starts place the T as if its centre of gravity did not turn with it.
        let (sin, cos) = angle.sin_cos();
        let (cx, cy) = physics::CENTRE;
        let told = (x + cos * cx - sin * cy - cx, y + sin * cx + cos * cy - cy, angle);
        Self { plane: Plane::new(finger, told), steps: 0, best_reward: 0.0 }
    }

    /// Starts the episode of `seed`.
    pub fn reset(&mut self, seed: u64) -> Observation {
        *self = Self::new(seed);
        self.observation()
    }

    /// One control step. An action outside the workspace is brought inside; one that is no number leaves the finger where
    /// it is.
    pub fn step(&mut self, action: Action) -> StepResult {
        let inside = |wanted: f32, now: f64| {
            if wanted.is_finite() { f64::from(wanted).clamp(0.0, WORKSPACE) } else { now }
        };
        let target = (inside(action[0], self.plane.finger.0), inside(action[1], self.plane.finger.1));
        for _ in 0..SUBSTEPS {
            self.plane.step(target);
        }
        self.steps += 1;
        let coverage = self.coverage();
        let reward = (coverage / SUCCESS_COVERAGE).clamp(0.0, 1.0);
        self.best_reward = self.best_reward.max(reward);
        let success = coverage > SUCCESS_COVERAGE;
        StepResult { reward, coverage, success, done: success || self.steps >= MAX_STEPS }
    }

    /// What a policy sees now.
    pub fn observation(&self) -> Observation {
        let (x, y) = self.plane.finger;
        Observation { picture: picture::draw(&self.plane), agent_position: [x as f32, y as f32] }
    }

    /// Share of the T's area inside the outline, 0 to 1.
    pub fn coverage(&self) -> f64 {
        let (x, y, angle) = self.plane.tee();
        let tee = physics::corners((x, y), angle);
        let goal = physics::corners((GOAL.0, GOAL.1), GOAL.2);
        let common: f64 = tee.iter().flat_map(|own| goal.iter().map(|other| convex_overlap_m2(own, other))).sum();
        (common / TEE_AREA).min(1.0)
    }

    /// The true state: finger x, y; T x, y in pixels and turn in rad from 0 to a full turn.
    pub fn state(&self) -> [f64; 5] {
        let (x, y, angle) = self.plane.tee();
        [self.plane.finger.0, self.plane.finger.1, x, y, angle.rem_euclid(std::f64::consts::TAU)]
    }

    /// The plane itself.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Control steps since the start.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Greatest reward so far: the published score of an episode.
    pub fn best_reward(&self) -> f64 {
        self.best_reward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the expert to the end of an episode.
    fn run(seed: u64) -> (PushT2d, StepResult) {
        let mut world = PushT2d::new(seed);
        let mut expert = PlanarExpert::default();
        loop {
            let action = expert.act(&world);
            let result = world.step(action);
            if result.done {
                return (world, result);
            }
        }
    }

    /// Five episodes played in the published environment (gym-pusht 0.1.8 on pymunk 6.11.1, reset to the starts that
    /// NumPy's `RandomState(seed)` draws): seed, action, finger, T, coverage; the first line of a seed is its start.
    #[test]
    fn it_moves_like_the_published_environment() {
        let reference = include_str!("../../tests/fixtures/push_t_2d_reference.txt");
        let mut world: Option<(u64, PushT2d)> = None;
        let mut successes = 0;
        for line in reference.lines() {
            let values: Vec<f64> = line.split(' ').map(|value| value.parse().unwrap()).collect();
            let seed = values[0] as u64;
            let coverage = match &mut world {
                Some((present, world)) if *present == seed => {
                    let result = world.step([values[1] as f32, values[2] as f32]);
                    successes += u32::from(result.success);
                    result.coverage
                }
                _ => {
                    world = Some((seed, PushT2d::new(seed)));
                    world.as_ref().unwrap().1.coverage()
                }
            };
            let state = world.as_ref().unwrap().1.state();
            for (index, value) in state.iter().enumerate() {
                assert!((value - values[3 + index]).abs() < 1e-5, "{line}: {state:?}");
            }
            assert!((coverage - values[8]).abs() < 1e-5, "{line}: coverage {coverage}");
        }
        assert_eq!(successes, 5);
    }

    /// The picture of seed 0's start as the published environment draws it.
    #[test]
    fn it_looks_like_the_published_environment() {
        let file = include_bytes!("../../tests/fixtures/push_t_2d_seed0.png");
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut published = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut published).unwrap();
        let ours = PushT2d::new(0).observation().picture;
        assert_eq!(ours.len(), PICTURE * PICTURE * 3);
        assert_eq!(ours.len(), published.len());
        let total: u32 = ours.iter().zip(&published).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(total) / ours.len() as f64;
        assert!(mean < 0.3, "pixels differ by {mean} of 255 on average");
        let far = ours.chunks(3).zip(published.chunks(3)).filter(|(a, b)| (0..3).any(|c| a[c].abs_diff(b[c]) > 40));
        assert!(far.count() < 60, "only pixels on edges differ much");
    }

    #[test]
    fn a_start_of_ones_own_is_where_it_was_asked_for() {
        let world = PushT2d::at((60.0, 70.0), (300.0, 200.0, 2.0));
        let state = world.state();
        for (value, wanted) in state.iter().zip([60.0, 70.0, 300.0, 200.0, 2.0]) {
            assert!((value - wanted).abs() < 1e-6, "{state:?}");
        }
        assert!((PushT2d::at((60.0, 70.0), GOAL).coverage() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_expert_does_it() {
        for seed in 100_000..100_004 {
            let (world, result) = run(seed);
            assert!(result.success && world.best_reward() == 1.0, "seed {seed}: {result:?}");
        }
    }

    #[test]
    fn a_clone_goes_on_like_the_original() {
        let mut world = PushT2d::new(7);
        let mut expert = PlanarExpert::default();
        for _ in 0..40 {
            let action = expert.act(&world);
            world.step(action);
        }
        let (mut other, mut other_expert) = (world.clone(), expert.clone());
        for _ in 0..20 {
            let action = expert.act(&world);
            assert_eq!(action, other_expert.act(&other));
            assert_eq!(world.step(action), other.step(action));
        }
        assert_eq!(world, other);
        assert_eq!(world.observation(), other.observation());
    }

    #[test]
    fn wild_actions_do_no_harm() {
        let mut world = PushT2d::new(3);
        for action in [[f32::NAN, 1.0], [f32::INFINITY, -1e30], [-5.0, 900.0], [256.0, 256.0]] {
            for _ in 0..40 {
                world.step(action);
            }
        }
        assert!(world.state().iter().all(|value| value.is_finite() && value.abs() < 2000.0), "{:?}", world.state());
        let mut world = PushT2d::new(3);
        let mut result = world.step([0.0, 0.0]);
        while !result.done {
            result = world.step([0.0, 0.0]);
        }
        assert_eq!((world.steps(), result.success), (MAX_STEPS, false), "an episode ends");
    }
}
