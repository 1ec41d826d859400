//! A leader arm moved by hand: its pose becomes the command of the arm in play, simulated or real.

use crate::backend::servo::ArmLink;
use crate::bus::follow::{Glide, LeaderMap};
use crate::control::ControlRate;
use crate::episode::EpisodeStarted;
use crate::robot::{Arm, JointCommand, JointTarget};
use bevy::prelude::*;
use std::sync::Arc;

/// Older readings of a leader are not followed, s.
const FRESH_S: f64 = 0.05;

/// The leader; while it is in the world, it moves the arm in the person's place of keyboard and mouse.
#[derive(Resource)]
pub struct Leader {
    link: Arc<dyn ArmLink>,
    map: LeaderMap,
    /// The way from where the arm is to the leader's pose.
    glide: Option<Glide>,
    /// Whether it answers.
    pub is_fresh: bool,
}

impl Leader {
    /// A leader behind `link`, whose pose becomes the arm's by `map`.
    pub fn new(link: Arc<dyn ArmLink>, map: LeaderMap) -> Self {
        Self { link, map, glide: None, is_fresh: false }
    }

    /// The pose it asks the arm for, rad; `None` while it does not answer.
    pub fn pose_rad(&self) -> Option<Vec<f64>> {
        let state = self.link.state();
        state.is_fresh(FRESH_S).then(|| self.map.map(&state.positions_rad()))
    }

    /// The arm has gone elsewhere meanwhile: it glides to the leader's pose anew.
    pub fn meet_again(&mut self) {
        self.glide = None;
    }
}

/// After a start the arm may be anywhere: it glides to the leader's pose.
pub(super) fn meet_again(_: On<EpisodeStarted>, leader: Option<ResMut<Leader>>) {
    if let Some(mut leader) = leader {
        leader.meet_again();
    }
}

/// Without a fresh reading the arm holds its last target.
pub(super) fn follow_leader(
    mut leader: ResMut<Leader>,
    rate: Res<ControlRate>,
    arms: Query<&Arm>,
    targets: Query<&JointTarget>,
    mut commands: Query<&mut JointCommand>,
) {
    let state = leader.link.state();
    leader.is_fresh = state.is_fresh(FRESH_S);
    if !leader.is_fresh {
        leader.glide = None;
        return;
    }
    let wanted = leader.map.map(&state.positions_rad());
    for arm in &arms {
        let target = |joint: &Entity| targets.get(*joint).map_or(0.0, |target| target.position_rad);
        let standing = || Glide::from(arm.joints.iter().map(target).collect());
        let goal = leader.glide.get_or_insert_with(standing).next(&wanted, rate.tick_s());
        if goal.len() == arm.joints.len() {
            arm.command(&mut commands, &arm.model.clamp(&goal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::RunOptions;
    use crate::bus::state::{ArmState, JointReading};
    use crate::headless::Headless;
    use crate::operator::Operator;
    use crate::robot::JointState;
    use std::sync::Mutex;

    struct Hand(Mutex<ArmState>);

    impl ArmLink for Hand {
        fn state(&self) -> ArmState {
            self.0.lock().unwrap().clone()
        }
        fn set_goal(&self, _: &[f64]) {}
        fn enable(&self) {}
        fn emergency_stop(&self) {}
        fn park(&self) {}
        fn shut_down(&self) {}
        fn is_real_time(&self) -> bool {
            false
        }
        fn pass(&self, _: f64) {}
    }

    #[test]
    fn a_simulated_arm_meets_its_leader_and_holds_when_it_falls_silent() {
        let mut headless = Headless::new(&RunOptions { operator: Operator::Human, ..RunOptions::default() }).unwrap();
        let joint = JointReading { position_rad: 0.2, age_s: 0.001, ..JointReading::default() };
        let state = ArmState { joints: vec![joint; 6], ..ArmState::default() };
        let link = Arc::new(Hand(Mutex::new(state)));
        let ends = (-0.17, 1.7);
        let map = LeaderMap { mirror: false, turn_rad: 0.0, leader_gripper_rad: ends, follower_gripper_rad: ends };
        headless.app.insert_resource(Leader::new(link.clone(), map));
        headless.start(7).unwrap();
        let pan = |headless: &mut Headless| {
            let world = headless.app.world_mut();
            let joint = world.query::<&Arm>().single(world).unwrap().joints[0];
            world.get::<JointState>(joint).unwrap().position_rad
        };
        (0..200).for_each(|_| headless.tick());
        assert!((pan(&mut headless) - 0.2).abs() < 0.03, "{}", pan(&mut headless));
        {
            let mut state = link.0.lock().unwrap();
            for joint in state.joints.iter_mut() {
                (joint.position_rad, joint.age_s) = (1.0, 9.0);
            }
        }
        (0..60).for_each(|_| headless.tick());
        assert!((pan(&mut headless) - 0.2).abs() < 0.03, "an old reading is not followed");
        assert!(!headless.app.world().resource::<Leader>().is_fresh);
    }
}
