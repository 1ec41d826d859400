//! Where generated episodes start: a little beyond where tests start, and some in the middle of the task.

use crate::arm::ArmModel;
use crate::config::Scene;
use crate::world::{SpawnError, Start, sample_start};

/// The point between the fingers of a hand "anywhere over the table" is this high, m: above what lies there.
const HEIGHT_M: (f64, f64) = (0.045, 0.12);
/// It is this far outside the places of props and goal at most, m.
const MARGIN_M: f64 = 0.02;
/// Turn of the wrist to either side of the scene's own start, degrees.
const ROLL_DEG: f64 = 57.0;
/// Jaws anywhere from closed to wide open, degrees.
const GRIPPER_DEG: (f64, f64) = (-6.0, 52.0);

/// Draws starts for a scene.
#[derive(Clone, Debug)]
pub struct Starts {
    /// The scene with wider ranges for its props.
    wide: Scene,
    /// The same with the hand anywhere.
    anywhere: Scene,
}

impl Starts {
    /// Starts in ranges `wider` (0.1: ten per cent) than the scene's.
    pub fn new(scene: &Scene, wider: f64) -> Self {
        let mut wide = scene.clone();
        let stretch = |(low, high): (f64, f64)| {
            let more = 0.5 * (high - low) * wider;
            (low - more, high + more)
        };
        for prop in &mut wide.props {
            let start = &mut prop.start;
            (start.x_m, start.y_m) = (stretch(start.x_m), stretch(start.y_m));
            // A whole turn needs no more.
            if start.yaw_deg.1 - start.yaw_deg.0 < 360.0 {
                start.yaw_deg = stretch(start.yaw_deg);
            }
        }
        let mut anywhere = wide.clone();
        let goals = scene.task.goals_m();
        let hull = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
            if low > high { None } else { Some((low - MARGIN_M, high + MARGIN_M)) }
        };
        let spawns = || scene.props.iter().map(|prop| prop.start);
        let x = hull(&mut spawns().flat_map(|s| [s.x_m.0, s.x_m.1]).chain(goals.iter().map(|goal| goal.0)));
        let y = hull(&mut spawns().flat_map(|s| [s.y_m.0, s.y_m.1]).chain(goals.iter().map(|goal| goal.1)));
        let hand = &mut anywhere.arm_start;
        (hand.x_m, hand.y_m) = (x.unwrap_or(hand.x_m), y.unwrap_or(hand.y_m));
        hand.z_m = HEIGHT_M;
        let roll = 0.5 * (hand.roll_deg.0 + hand.roll_deg.1);
        hand.roll_deg = (roll - ROLL_DEG, roll + ROLL_DEG);
        hand.gripper_deg = GRIPPER_DEG;
        Self { wide, anywhere }
    }

    /// The start that belongs to `seed`; `in_the_middle`: the hand is anywhere over the table.
    ///
    /// # Errors
    /// [`SpawnError`] if the scene's ranges allow none.
    pub fn draw(&self, model: &ArmModel, seed: u64, in_the_middle: bool) -> Result<Start, SpawnError> {
        sample_start(if in_the_middle { &self.anywhere } else { &self.wide }, model, seed)
    }
}
