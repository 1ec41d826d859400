//! Which world each episode gets: drawn at every reset from the episode's seed, or given.

use super::draw::{DrawFor, draw_world};
use super::drawn::DrawnWorld;
use super::spawn::{Start, sample_start};
use super::{ActiveScene, PropBody, spawn_props};
use crate::config::{self, ConfigError, Group, Randomise, Scene};
use crate::robot::Arm;
use bevy::prelude::*;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The ranges that are shipped, a name in `configs/randomise`.
const STANDARD: &str = "standard";

/// What the command line says of how worlds differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RandomiseChoice {
    /// As the scene's own `randomise` section says.
    #[default]
    AsScene,
    /// Not at all.
    Off,
    /// These groups, with the ranges of the scene where it has them, else the shipped ones.
    Groups(Vec<Group>),
    /// The groups and ranges of a file: a name in `configs/randomise`, or a path ending in `.ron`.
    File(String),
}

impl FromStr for RandomiseChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "all" => Self::Groups(Group::ALL.to_vec()),
            "none" => Self::Off,
            "looks" => Self::Groups(Group::ALL.into_iter().filter(|group| group.is_look()).collect()),
            file if file.ends_with(".ron") => Self::File(file.into()),
            list => Self::Groups(list.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>()?),
        })
    }
}

/// Where the worlds of episodes come from.
#[derive(Clone, Debug, Default)]
pub enum Worlds {
    /// From the scene's own `randomise` section, if it has one.
    #[default]
    AsScene,
    /// Every episode has the scene as it is.
    Nominal,
    /// From some groups; each has its range from the scene or, where that has none, from here.
    Groups(Vec<Group>, Arc<Randomise>),
    /// From these ranges, whatever the scene says.
    Ranges(Arc<Randomise>),
    /// The world of the next episodes is known, as when one is replayed.
    Given(Arc<DrawnWorld>),
}

impl Worlds {
    /// Loads the ranges that a choice needs.
    ///
    /// # Errors
    /// [`ConfigError`] naming file, line and remedy.
    pub fn load(choice: &RandomiseChoice) -> Result<Self, ConfigError> {
        Ok(match choice {
            RandomiseChoice::AsScene => Self::AsScene,
            RandomiseChoice::Off => Self::Nominal,
            RandomiseChoice::Groups(groups) => {
                Self::Groups(groups.clone(), Arc::new(config::load_named("configs/randomise", STANDARD)?))
            }
            RandomiseChoice::File(file) => Self::Ranges(Arc::new(config::load(Path::new(file))?)),
        })
    }

    /// The ranges in force for a scene; `None` where its worlds do not differ.
    pub fn ranges(&self, scene: &Scene) -> Option<Randomise> {
        let ranges = match self {
            Self::Nominal | Self::Given(_) => None,
            Self::AsScene => scene.randomise.clone(),
            Self::Ranges(ranges) => Some(ranges.as_ref().clone()),
            Self::Groups(groups, standard) => Some(scene.randomise.clone().unwrap_or_default().only(groups, standard)),
        };
        ranges.filter(|ranges| !ranges.groups().is_empty())
    }
}

/// How the next episodes' worlds are found.
#[derive(Resource, Clone, Debug, Default)]
pub struct Randomiser {
    /// Where they come from.
    pub worlds: Worlds,
    /// Which look of its seed the next episode has: the same things happen, seen otherwise.
    pub look: u32,
}

/// What was drawn for the present episode; `None` where it has the scene as it is.
#[derive(Resource, Clone, Debug, Default)]
pub struct EpisodeWorld(pub Option<Arc<DrawnWorld>>);

/// Draws the world of the episode of `seed` and makes scene, objects and arm follow it; the start that goes with it.
/// `start_at`: where it starts in the nominal world, instead of where its seed says. `simulated`: whether the arm is; a real
/// one is what it is.
///
/// # Errors
/// In words, if the scene allows no start.
pub fn set_up_world(
    world: &mut World,
    arm_entity: Entity,
    seed: u64,
    start_at: Option<Start>,
    simulated: bool,
) -> Result<Start, String> {
    let active = world.resource::<ActiveScene>().clone();
    let randomiser = world.get_resource::<Randomiser>().cloned().unwrap_or_default();
    let arm = world.get::<Arm>(arm_entity).ok_or("there is no arm in the scene")?;
    let (model, ticks_per_turn) = (arm.model.clone(), arm.servo.ticks_per_turn);
    let nominal = active.nominal.clone();
    let mut start = match start_at {
        Some(start) if start.q_rad.len() == model.joints.len() && start.props.len() == nominal.props.len() => start,
        Some(_) => return Err("the start that was asked for has other joints or props than the scene".into()),
        None => sample_start(&nominal, &model, seed).map_err(|error| error.to_string())?,
    };
    let drawn = match &randomiser.worlds {
        Worlds::Given(given) => match given.problem(&nominal) {
            None => Some(given.clone()),
            Some(problem) => return Err(format!("the recorded world cannot be: {problem}")),
        },
        worlds => worlds.ranges(&nominal).map(|ranges| {
            let (scene, start, look) = (nominal.as_ref(), &start, randomiser.look);
            Arc::new(draw_world(&ranges, &DrawFor { scene, model: &model, ticks_per_turn, start, seed, look }))
        }),
    };
    let drawn = drawn.filter(|drawn| simulated && !drawn.is_nominal());
    let scene = match &drawn {
        Some(drawn) => Arc::new(drawn.apply(&nominal)),
        None => nominal.clone(),
    };
    if let Some(drawn) = &drawn {
        drawn.move_start(&mut start.q_rad);
        start.q_rad = model.clamp(&start.q_rad);
        start.props.extend(drawn.distractor_poses());
    }
    if !Arc::ptr_eq(&scene, &active.scene) {
        change_to(world, ActiveScene { scene, ..active });
    }
    if let Some(mut arm) = world.get_mut::<Arm>(arm_entity) {
        arm.drawn = drawn.as_ref().map(|drawn| drawn.arm()).unwrap_or_default();
    }
    world.insert_resource(EpisodeWorld(drawn));
    Ok(start)
}

/// Objects follow a scene that differs from the present one in what was drawn; cameras do so by themselves.
fn change_to(world: &mut World, active: ActiveScene) {
    let old: Vec<Entity> = world.query_filtered::<Entity, With<PropBody>>().iter(world).collect();
    for entity in old {
        world.despawn(entity);
    }
    spawn_props(&mut world.commands(), &active.scene);
    world.flush();
    world.insert_resource(active);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_nonsense_is_refused() {
        assert_eq!("none".parse(), Ok(RandomiseChoice::Off));
        assert_eq!("light, mass".parse(), Ok(RandomiseChoice::Groups(vec![Group::Light, Group::Mass])));
        assert_eq!("mine.ron".parse(), Ok(RandomiseChoice::File("mine.ron".into())));
        assert_eq!("all".parse(), Ok(RandomiseChoice::Groups(Group::ALL.to_vec())));
        for text in ["", "lights", "light,,mass", "all,mass"] {
            let problem = text.parse::<RandomiseChoice>().unwrap_err();
            assert!(problem.contains("some of light, colours"), "{problem}");
        }
    }

    #[test]
    fn a_scene_with_a_section_of_its_own_is_drawn_without_asking() {
        let text = std::fs::read_to_string(config::home().unwrap().join("scenes/move_t.ron")).unwrap();
        let end = text.rfind(')').unwrap();
        let text = format!("{}    randomise: (mass: (factor: (0.9, 1.1))),\n)", &text[..end]);
        let scene: Scene = config::parse(&text, Path::new("own.ron")).unwrap();
        assert_eq!(Worlds::AsScene.ranges(&scene).unwrap().groups(), [Group::Mass]);
        assert!(Worlds::Nominal.ranges(&scene).is_none());
        let all = Worlds::load(&"all".parse().unwrap()).unwrap().ranges(&scene).unwrap();
        assert_eq!((all.groups().len(), all.mass.unwrap().factor), (15, (0.9, 1.1)));
        let bad = text.replace("(0.9, 1.1)", "(0.9, 1.1, 3.0)");
        assert!(config::parse::<Scene>(&bad, Path::new("own.ron")).is_err());
    }
}
