//! Keeps the goal of one joint safe, whatever was asked for: limits, speed, distance from the joint, stall.

use super::settings::JointSettings;
use super::state::JointReading;
use crate::config::{OVERCURRENT_AFTER_S, STALL_AFTER_S};

/// Slower than this counts as standing still, rad/s.
const STANDSTILL_RAD_S: f64 = 0.06;
/// A joint that moved this far from where it stalled is free again, rad.
const FREE_AFTER_RAD: f64 = 0.05;
/// Closer than this to what is wanted, an approach is over, rad.
const APPROACHED_RAD: f64 = 0.02;

/// The safe goal of one joint.
#[derive(Clone, Debug, PartialEq)]
pub struct JointGuard {
    goal_rad: f64,
    approaching: bool,
    stall: Option<Stall>,
    pushing_s: f64,
    overcurrent_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stall {
    at_rad: f64,
    towards: f64,
}

impl JointGuard {
    /// A guard of a joint that stands at `position_rad`.
    pub fn new(position_rad: f64) -> Self {
        JointGuard { goal_rad: position_rad, approaching: true, stall: None, pushing_s: 0.0, overcurrent_s: 0.0 }
    }

    /// The goal in force, rad.
    pub fn goal_rad(&self) -> f64 {
        self.goal_rad
    }

    /// Whether the joint has been made to yield.
    pub fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Whether the goal has not yet caught up with what is wanted since the last [`reset`](Self::reset) or
    /// [`approach`](Self::approach).
    pub fn is_approaching(&self) -> bool {
        self.approaching
    }

    /// Start over at `position_rad`: the goal is there, and the next one is approached slowly.
    pub fn reset(&mut self, position_rad: f64) {
        *self = JointGuard::new(position_rad);
    }

    /// Draw the goal back to `goal_rad`, which is between this goal and the one before: something else than this joint
    /// forbids to go further.
    pub fn hold_back(&mut self, goal_rad: f64) {
        self.goal_rad = goal_rad;
    }

    /// Approach what is wanted next slowly.
    pub fn approach(&mut self) {
        self.approaching = true;
    }

    /// Take in a new reading: notices a stall, and its end.
    pub fn observe(&mut self, reading: &JointReading, settings: &JointSettings, dt_s: f64) {
        let (position, still) = (reading.position_rad, reading.velocity_rad_s.abs() < STANDSTILL_RAD_S);
        let pushing = still && reading.load_fraction.abs() >= settings.stall_load;
        self.pushing_s = if pushing { self.pushing_s + dt_s } else { 0.0 };
        let overcurrent = reading.current_a > settings.max_current_a;
        self.overcurrent_s = if overcurrent { self.overcurrent_s + dt_s } else { 0.0 };
        let lead = self.goal_rad - position;
        match self.stall {
            None if self.pushing_s >= STALL_AFTER_S || self.overcurrent_s >= OVERCURRENT_AFTER_S => {
                self.stall = Some(Stall { at_rad: position, towards: lead.signum() });
            }
            Some(stall) if (position - stall.at_rad) * stall.towards > FREE_AFTER_RAD => self.stall = None,
            _ => {}
        }
    }

    /// The goal to send now, for a joint that should go to `wanted_rad` (`None`, or what is no number: stay) no faster than
    /// `cap_rad_s`, and no faster than `slow_rad_s` while it approaches.
    pub fn next(
        &mut self,
        wanted_rad: Option<f64>,
        cap_rad_s: f64,
        slow_rad_s: f64,
        reading: &JointReading,
        settings: &JointSettings,
        dt_s: f64,
    ) -> f64 {
        let asked_rad = wanted_rad.filter(|wanted| wanted.is_finite());
        let mut wanted = asked_rad.unwrap_or(self.goal_rad).clamp(settings.lower_rad, settings.upper_rad);
        if let Some(stall) = self.stall {
            let bound = stall.at_rad + stall.towards * settings.stall_lead_rad;
            if (wanted - bound) * stall.towards < 0.0 {
                self.stall = None;
            } else {
                wanted = bound;
            }
        }
        if self.approaching && asked_rad.is_some() && (wanted - self.goal_rad).abs() < APPROACHED_RAD {
            self.approaching = false;
        }
        let cap = if self.approaching { cap_rad_s.min(slow_rad_s) } else { cap_rad_s };
        let step = cap.min(settings.max_velocity_rad_s) * dt_s;
        let (position, lead) = (reading.position_rad, settings.max_lead_rad);
        let next =
            (self.goal_rad + (wanted - self.goal_rad).clamp(-step, step)).clamp(position - lead, position + lead);
        // A joint that starts outside its limits is brought in at the same speed; no goal goes further out than the last.
        let (least, greatest) = (settings.lower_rad.min(self.goal_rad), settings.upper_rad.max(self.goal_rad));
        self.goal_rad = next.clamp(least, greatest);
        self.goal_rad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::settings::DriverSettings;
    use proptest::prelude::*;

    const DT: f64 = 0.01;

    fn joint() -> JointSettings {
        DriverSettings::default().joints[0].clone()
    }

    fn at(position_rad: f64) -> JointReading {
        JointReading { position_rad, ..JointReading::default() }
    }

    #[test]
    fn a_goal_is_approached_slowly_and_then_followed_at_full_speed() {
        let (mut guard, settings) = (JointGuard::new(0.0), joint());
        let mut goal = 0.0;
        for _ in 0..50 {
            goal = guard.next(Some(1.0), 9.0, 0.6, &at(goal), &settings, DT);
        }
        assert!((goal - 0.3).abs() < 1e-9, "{goal}");
        for _ in 0..200 {
            goal = guard.next(Some(1.0), 9.0, 0.6, &at(goal), &settings, DT);
        }
        assert_eq!((goal, guard.is_approaching()), (1.0, false));
        assert!((guard.next(Some(0.0), 9.0, 0.6, &at(goal), &settings, DT) - 0.97).abs() < 1e-9);
    }

    #[test]
    fn a_blocked_joint_yields_and_is_free_when_it_turns_back_or_the_way_opens() {
        let settings = joint();
        let blocked = JointReading { load_fraction: 0.9, ..at(0.2) };
        let mut guard = JointGuard::new(0.2);
        guard.approaching = false;
        for _ in 0..200 {
            guard.next(Some(1.5), 9.0, 0.6, &blocked, &settings, DT);
            guard.observe(&blocked, &settings, DT);
        }
        assert!(guard.is_stalled());
        assert!((guard.goal_rad() - 0.32).abs() < 1e-9, "goal at the stall lead, {}", guard.goal_rad());
        let mut freed = guard.clone();
        freed.observe(&at(0.3), &settings, DT);
        assert!(!freed.is_stalled(), "the obstacle gave way");
        guard.next(Some(0.1), 9.0, 0.6, &blocked, &settings, DT);
        assert!(!guard.is_stalled(), "it was told to turn back");
    }

    #[test]
    fn too_much_current_makes_it_yield_sooner() {
        let settings = joint();
        let mut guard = JointGuard::new(0.0);
        for _ in 0..21 {
            guard.observe(&JointReading { current_a: 2.5, velocity_rad_s: 1.0, ..at(0.0) }, &settings, DT);
        }
        assert!(guard.is_stalled());
    }

    #[test]
    fn a_joint_outside_its_limits_is_brought_in_without_a_jump() {
        let (mut guard, settings) = (JointGuard::new(2.1), joint());
        let first = guard.next(Some(3.0), 9.0, 0.6, &at(2.1), &settings, DT);
        assert!((first - (2.1 - 0.006)).abs() < 1e-9, "{first}");
        assert!(guard.next(Some(f64::NAN), 9.0, 0.6, &at(2.1), &settings, DT) < first);
    }

    proptest! {
        #[test]
        fn no_goal_breaks_a_limit(
            wanted in proptest::collection::vec(prop_oneof![4 => -10.0..10.0f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)], 1..100),
            positions in proptest::collection::vec(-2.0..2.0f64, 1..100),
            load in -1.0..1.0f64,
        ) {
            let settings = joint();
            let mut guard = JointGuard::new(0.0);
            for (wanted, position) in wanted.iter().zip(&positions) {
                let reading = JointReading { load_fraction: load, ..at(*position) };
                guard.observe(&reading, &settings, DT);
                let before = guard.goal_rad();
                let goal = guard.next(Some(*wanted), 9.0, 0.6, &reading, &settings, DT);
                prop_assert!((settings.lower_rad..=settings.upper_rad).contains(&goal));
                // Only the joint itself, pushed away, may pull the goal along faster than the speed limit.
                let pulled = (before - position).abs() > settings.max_lead_rad - 0.05;
                prop_assert!(pulled || (goal - before).abs() <= settings.max_velocity_rad_s * DT + 1e-9);
            }
        }
    }
}
