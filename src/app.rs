//! Puts the application together: the only place that adds plugins.

use crate::arm::{ArmModel, UrdfError, load_urdf};
use crate::backend::servo::{self, ServoArm, ServoError, ServoJoint};
use crate::backend::sim::{self, LinkShapes, RateError, ShapeError, SimJoint, SimSettings};
use crate::camera::live::RealCameras;
use crate::camera::real::{CameraError, NamedSource};
use crate::camera::{self};
use crate::config::{self, ArmConfig, ConfigError, PhysicsConfig, Scene, ServoProfile};
use crate::control::{self, ControlRate};
use crate::episode::{self, PhysicsEntity};
use crate::operator::Operator;
use crate::record;
use crate::robot;
use crate::rollout;
use crate::task::expert::{self, Expert, ExpertSpeed};
use crate::teleop;
use crate::world::{ActiveScene, EpisodeWorld, RandomiseChoice, Randomiser, Worlds, spawn_props};
use bevy::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// What moves the joints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The simulation.
    #[default]
    Sim,
    /// A real arm, or an emulated one.
    Servo {
        /// Its serial port.
        port: String,
        /// Name of its calibration.
        id: String,
    },
}

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Scene: a name in `scenes/`, or a file.
    pub scene: String,
    /// Arm: a name in `configs/arm/`, or a file.
    pub arm: String,
    /// URDF that replaces the arm's own.
    pub urdf: Option<PathBuf>,
    /// Servo profile that replaces the arm's own: a name in `configs/servo/`, or a file.
    pub servo: Option<String>,
    /// Physics: a name in `configs/physics/`, or a file.
    pub physics: String,
    /// Control ticks per second.
    pub control_hz: u32,
    /// Whether systems of one set may run side by side. Results are the same either way.
    pub multi_threaded: bool,
    /// Who moves the arm.
    pub operator: Operator,
    /// Which scripted expert, when it is its turn.
    pub expert: Expert,
    /// How fast it goes.
    pub speed: ExpertSpeed,
    /// What moves the joints.
    pub backend: Backend,
    /// How worlds differ from episode to episode.
    pub randomise: RandomiseChoice,
    /// Real cameras and what stands in for them; beside a real arm they are the only ones.
    pub cameras: Vec<NamedSource>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            scene: "move_t".into(),
            arm: "so100".into(),
            urdf: None,
            servo: None,
            physics: "fast".into(),
            control_hz: 30,
            multi_threaded: false,
            operator: Operator::Scripted,
            expert: Expert::default(),
            speed: ExpertSpeed::default(),
            backend: Backend::Sim,
            randomise: RandomiseChoice::AsScene,
            cameras: Vec::new(),
        }
    }
}

/// Why the application could not be put together.
#[derive(Debug, Error)]
pub enum AppError {
    /// A configuration file was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URDF was refused.
    #[error(transparent)]
    Urdf(#[from] UrdfError),
    /// The real arm cannot be used.
    #[error(transparent)]
    Servo(#[from] ServoError),
    /// A real camera cannot be used.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// The arm's collision shapes could not be made.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Physics and control rate do not fit.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// The arm has too few joints, or its rest pose does not fit.
    #[error("{file}: {problem}; {remedy}")]
    Arm {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// Everything a run needs, loaded and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The scene.
    pub scene: ActiveScene,
    /// The arm's geometry, facing the scene.
    pub model: Arc<ArmModel>,
    /// Its collision shapes.
    pub shapes: LinkShapes,
    /// The arm's set-up.
    pub arm: Arc<ArmConfig>,
    /// Its servos.
    pub servo: Arc<ServoProfile>,
    /// Physics settings that fit the control rate.
    pub sim: SimSettings,
    /// The control rate.
    pub rate: ControlRate,
    /// The real arm, connected; nothing: it is simulated. It parks when the last holder of this lets go.
    pub hardware: Option<ServoArm>,
    /// Where the worlds of episodes come from.
    pub worlds: Worlds,
    /// Real cameras, running.
    pub cameras: RealCameras,
}

impl Loaded {
    /// Loads and checks what `options` names.
    ///
    /// # Errors
    /// [`AppError`] naming file, place and remedy.
    pub fn new(options: &RunOptions) -> Result<Self, AppError> {
        let scene = load_scene(&options.scene)?;
        let arm: ArmConfig = config::load_named("configs/arm", &options.arm)?;
        let servo: ServoProfile = config::load_named("configs/servo", options.servo.as_deref().unwrap_or(&arm.servo))?;
        let physics: PhysicsConfig = config::load_named("configs/physics", &options.physics)?;
        let urdf = match &options.urdf {
            Some(file) => file.clone(),
            None => config::home()?.join(&arm.urdf),
        };
        let model = load_urdf(&urdf)?;
        info!(
            "scene {}, arm {}, {} joints, physics {} at {} Hz, control at {} Hz",
            scene.name,
            urdf.display(),
            model.joints.len(),
            options.physics,
            physics.step_hz,
            options.control_hz
        );
        check_arm(&model, &arm, &urdf, options.urdf.is_some())?;
        let rate = ControlRate { hz: options.control_hz };
        let model = Arc::new(model.facing_the_scene());
        let hardware = match &options.backend {
            Backend::Sim => None,
            Backend::Servo { port, id } => Some(ServoArm::connect(port, id, &model, &arm)?),
        };
        let cameras =
            RealCameras::start(&options.cameras, &scene.scene.cameras, options.control_hz, hardware.is_some())?;
        Ok(Self {
            worlds: Worlds::load(&options.randomise)?,
            hardware,
            cameras,
            scene,
            shapes: LinkShapes::new(&model)?,
            model,
            arm: Arc::new(arm),
            servo: Arc::new(servo),
            sim: SimSettings::new(physics, rate)?,
            rate,
        })
    }
}

/// Loads a scene by name or file.
///
/// # Errors
/// [`ConfigError`] naming file, line and remedy.
pub fn load_scene(name: &str) -> Result<ActiveScene, ConfigError> {
    let scene: Scene = config::load_named("scenes", name)?;
    let name = Path::new(name).file_stem().map_or_else(|| name.to_string(), |stem| stem.to_string_lossy().into_owned());
    let scene = Arc::new(scene);
    Ok(ActiveScene { name, nominal: scene.clone(), scene })
}

fn check_arm(model: &ArmModel, arm: &ArmConfig, urdf: &Path, own_urdf: bool) -> Result<(), AppError> {
    let chain = model.chain_to(model.hand_link()).len();
    if chain < 4 || model.joints.len() > chain + 1 || chain > 6 {
        return Err(AppError::Arm {
            file: urdf.to_path_buf(),
            problem: format!("{} movable joints, {chain} of them before the hand", model.joints.len()),
            remedy: "give an arm with four to six joints and one gripper joint in its last link".into(),
        });
    }
    if !own_urdf && arm.rest_deg.len() != model.joints.len() {
        return Err(AppError::Arm {
            file: urdf.to_path_buf(),
            problem: format!("{} joints, but rest_deg of its arm file has {}", model.joints.len(), arm.rest_deg.len()),
            remedy: "give rest_deg one angle per joint".into(),
        });
    }
    Ok(())
}

/// Adds everything that simulates: the same for window, headless runs and tests.
pub fn add_core(app: &mut App, loaded: &Loaded, options: &RunOptions) {
    control::plugin(app, loaded.rate, options.multi_threaded);
    robot::plugin(app);
    sim::plugin(app, loaded.sim.clone());
    servo::plugin(app);
    episode::plugin(app);
    expert::plugin(app);
    teleop::plugin(app);
    camera::plugin(app);
    record::plugin(app);
    rollout::plugin(app);
    app.insert_resource(options.operator);
    app.insert_resource(options.expert);
    app.insert_resource(options.speed);
    app.insert_resource(loaded.scene.clone());
    app.insert_resource(Randomiser { worlds: loaded.worlds.clone(), look: 0 });
    app.init_resource::<EpisodeWorld>();
    let world = app.world_mut();
    let physics = world.spawn(Name::new("physics")).id();
    world.insert_resource(PhysicsEntity(physics));
    let mut commands = world.commands();
    let (model, arm, servo) = (loaded.model.clone(), loaded.arm.clone(), loaded.servo.clone());
    let arm = match &loaded.hardware {
        None => robot::spawn_arm(&mut commands, model, arm, servo, SimJoint::default()),
        Some(hardware) => {
            commands.insert_resource(hardware.clone());
            robot::spawn_arm(&mut commands, model, arm, servo, ServoJoint)
        }
    };
    commands.entity(arm).insert(loaded.shapes.clone());
    spawn_props(&mut commands, &loaded.scene.scene);
    commands.insert_resource(loaded.cameras.clone());
    camera::spawn_cameras(&mut commands, &loaded.scene.scene.cameras, &loaded.cameras);
    world.flush();
    if loaded.hardware.is_some() {
        servo::read_now(world);
    }
}
