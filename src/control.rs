//! The control tick: one schedule, run at the control rate by the window (from `FixedUpdate`) and as fast as it goes
//! without one. This is the only place that orders its parts.

use bevy::ecs::schedule::{
    LogLevel, MultiThreadedExecutor, ScheduleBuildSettings, ScheduleLabel, SingleThreadedExecutor,
};
use bevy::prelude::*;
use std::time::{Duration, Instant};

/// The schedule of one control tick.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Control;

/// What the next Sense would report, without a tick: joints, link poses, pictures. For those who want to see the world
/// between two ticks.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Look;

/// Pictures of what is where, as it was put there by hand. For those who draw what happened before.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Draw;

/// Parts of a control tick, in order.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlSystems {
    /// A requested reset or change of scene happens.
    Reset,
    /// Backends read the joints: `JointState`; poses of links follow.
    Sense,
    /// Exactly one operator per arm writes `JointCommand`.
    Decide,
    /// `JointCommand` becomes `JointTarget`, inside every limit: what is really sent.
    Act,
    /// Physics advances by one tick; on hardware nothing happens here.
    Step,
    /// The task is scored; the episode may end.
    Judge,
    /// What happened is kept.
    Record,
}

/// Rate of the control tick.
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct ControlRate {
    /// Ticks per second.
    pub hz: u32,
}

impl ControlRate {
    /// Length of a tick, s.
    pub fn tick_s(self) -> f64 {
        1.0 / f64::from(self.hz)
    }
}

/// The emergency stop, set by whoever has a key or button for it. While it is on every arm stands where it was caught;
/// when it goes off the arm returns slowly to what it is told.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmergencyStop {
    /// Whether arms stand.
    pub on: bool,
}

/// The key of the emergency stop, one and the same in every terminal and window: pressed, the arm stands; pressed again, it
/// goes on, but not by the second press of somebody in a hurry.
#[derive(Resource, Clone, Copy, Debug, Default)]
pub struct StopKey {
    pressed_at: Option<Instant>,
}

/// Presses closer together than this are one, s.
const IN_A_HURRY: Duration = Duration::from_secs(1);

impl StopKey {
    /// What is printed on it.
    pub const LABEL: &'static str = "Tab";

    /// It is pressed at `now`, while arms stand or not by emergency stop: whether they shall stand from now on.
    pub fn press(&mut self, stopped: bool, now: Instant) -> bool {
        let before = self.pressed_at.replace(now);
        !stopped || before.is_some_and(|before| now.duration_since(before) < IN_A_HURRY)
    }
}

/// Adds the schedule. `multi_threaded` lets systems of one set run side by side; results are the same either way.
pub fn plugin(app: &mut App, rate: ControlRate, multi_threaded: bool) {
    app.insert_resource(rate);
    let mut schedule = Schedule::new(Control);
    if multi_threaded {
        schedule.set_executor(MultiThreadedExecutor::new());
    } else {
        schedule.set_executor(SingleThreadedExecutor::new());
    }
    schedule.set_build_settings(ScheduleBuildSettings {
        // Two systems that may run in either order and share data would make episodes irreproducible.
        ambiguity_detection: LogLevel::Error,
        ..default()
    });
    app.add_schedule(schedule);
    for mut schedule in [Schedule::new(Look), Schedule::new(Draw)] {
        schedule.set_executor(SingleThreadedExecutor::new());
        schedule.set_build_settings(ScheduleBuildSettings { ambiguity_detection: LogLevel::Error, ..default() });
        app.add_schedule(schedule);
    }
    app.configure_sets(
        Control,
        (
            ControlSystems::Reset,
            ControlSystems::Sense,
            ControlSystems::Decide,
            ControlSystems::Act,
            ControlSystems::Step,
            ControlSystems::Judge,
            ControlSystems::Record,
        )
            .chain(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_hit_twice_in_a_hurry_still_stops() {
        let (mut key, start) = (StopKey::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert!(key.press(false, start));
        assert!(key.press(true, after(150)) && key.press(true, after(900)), "held down, or hit again and again");
        assert!(!key.press(true, after(2500)), "meant: it goes on");
        assert!(key.press(false, after(2600)), "and is stopped again at once");
    }
}
