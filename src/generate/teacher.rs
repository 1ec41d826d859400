//! Who shows what to do in generated episodes.

use super::carry_over::Follower;
use super::look_ahead::Present;
use crate::config::Scene;
use crate::robot::Arm;
use crate::task::expert::{Expert, ExpertMemory, ExpertSpeed, GripPhase, GripPlace, Situation, advise, view};
use crate::world::Order;
use std::sync::Arc;

/// A scripted expert in an episode.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// The scene.
    pub scene: Arc<Scene>,
    /// What the episode asks for.
    pub order: Order,
    /// Which expert.
    pub expert: Expert,
    /// Its pace.
    pub speed: ExpertSpeed,
    /// What it remembers.
    pub memory: ExpertMemory,
    /// Length of a control tick, s.
    pub tick_s: f64,
}

impl Scripted {
    fn situation<'a>(&'a self, arm: &'a Arm, present: &'a Present) -> Situation<'a> {
        let (q_rad, props) = (&present.q_rad, &present.props);
        Situation { scene: &self.scene, order: &self.order, arm, q_rad, props, tick_s: self.tick_s }
    }

    /// What the gripping expert is about in this state, and where its object is in the hand; `None` where it has nothing to
    /// do.
    pub fn view(&self, arm: &Arm, present: &Present) -> Option<(GripPhase, GripPlace)> {
        view(&self.situation(arm, present))
    }
}

/// A demonstrator. A clone goes on from the same state: so it can be asked what it would do next.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// A scripted expert.
    Scripted(Box<Scripted>),
    /// A recorded demonstration, carried over.
    Follower(Box<Follower>),
}

impl Teacher {
    /// Command for the present state, rad; `None` where it has none.
    pub fn command_rad(&mut self, arm: &Arm, present: &Present) -> Option<Vec<f64>> {
        match self {
            Self::Scripted(scripted) => {
                let mut memory = std::mem::take(&mut scripted.memory);
                let now = scripted.situation(arm, present);
                let command = advise(&now, scripted.expert, scripted.speed, &mut memory);
                scripted.memory = memory;
                command
            }
            Self::Follower(follower) => follower.command_rad(arm, present),
        }
    }
}
