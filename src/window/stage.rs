//! A window with arms that somebody else moves: no task and no control tick, only what a [`Show`] tells it to draw.

use super::{SOFTWARE_FRAMES_PER_S, WindowError, camera, display, engine, find_adapter};
use crate::app::Loaded;
use crate::episode::Episode;
use crate::robot::{Arm, ArmLink, WorldPose, spawn_arm};
use crate::ui::camera_rig::{self, CameraRig, MainCamera, Orbit};
use crate::ui::quality::Quality;
use crate::ui::theme::{self, GROOVE, TEXT};
use crate::ui::visuals::{self, Translucent};
use crate::ui::{UiSystems, matte, quality};
use crate::world::{PropBody, spawn_props};
use bevy::prelude::*;
use bevy::window::{PresentMode, WindowResolution};
use bevy::winit::{UpdateMode, WinitSettings};
use bevy_egui::egui::{self, Align2};
use bevy_egui::input::EguiWantsInput;
use bevy_egui::{EguiContexts, EguiPlugin, EguiPrimaryContextPass};
use bevy_rapier3d::rapier::math::Pose;
use std::time::Duration;

/// Size of the window, pixels.
const SIZE: (u32, u32) = (1280, 720);
/// Arms that are not shown stand this far below the table, m.
const OFF_STAGE_M: f32 = -50.0;
/// Height of the words above an arm's base, m.
const WORDS_ABOVE_M: f32 = 0.53;

/// What a stage shows, and what happens at its panels and keys.
pub trait Show: Send + Sync + 'static {
    /// Joint angles of every arm, rad, at this time since the window opened, s; nothing: it is not shown.
    fn poses_rad(&mut self, time_s: f64) -> Vec<Option<Vec<f64>>>;
    /// Where the scene's props are; empty: where they were.
    fn props(&mut self) -> Vec<Pose> {
        Vec::new()
    }
    /// Draws the panels.
    fn panels(&mut self, ctx: &egui::Context);
    /// A key was pressed that no panel wanted.
    fn key(&mut self, key: KeyCode);
    /// Whether the window shall close.
    fn is_over(&self) -> bool;
}

/// An arm on the stage.
#[derive(Clone, Copy, Debug)]
pub struct StageArm {
    /// Where its base stands on the table, m.
    pub place_m: (f32, f32),
    /// Drawn translucent: not there but wanted.
    pub wanted: bool,
    /// Words above it.
    pub words: &'static str,
}

/// What the window is like.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// Its title.
    pub title: String,
    /// Arms, in the order of [`Show::poses_rad`].
    pub arms: Vec<StageArm>,
    /// Whether the scene's props are there, too.
    pub props: bool,
    /// From where they are seen.
    pub view: Orbit,
    /// How much is logged.
    pub verbose: u8,
}

#[derive(Resource)]
struct Stage {
    show: Box<dyn Show>,
    arms: Vec<StageArm>,
    /// Whether each of them is shown.
    shown: Vec<bool>,
}

/// Place of an arm in [`Stage::arms`].
#[derive(Component, Clone, Copy)]
struct OnStage(usize);

/// Opens the window and stays until it is closed or `show` is over.
///
/// # Errors
/// [`WindowError`] if there is no display or driver, or if it breaks.
pub fn perform(loaded: &Loaded, options: &StageOptions, show: Box<dyn Show>) -> Result<(), WindowError> {
    display::find()?;
    let adapter = find_adapter()?;
    let quality = if adapter.software { Quality::Low } else { Quality::High };
    let ended = display::quietly(|| {
        let mut app = App::new();
        let window = Window {
            title: options.title.clone(),
            resolution: WindowResolution::new(SIZE.0, SIZE.1),
            present_mode: if adapter.software { PresentMode::AutoNoVsync } else { PresentMode::AutoVsync },
            ..default()
        };
        let windows = WindowPlugin { primary_window: Some(window), ..default() };
        app.add_plugins(engine(adapter.resources, options.verbose).set(windows));
        let pause = Duration::from_secs_f64(1.0 / SOFTWARE_FRAMES_PER_S);
        // What is shown moves by itself, looked at or not.
        let mode = if adapter.software { UpdateMode::reactive(pause) } else { UpdateMode::Continuous };
        app.insert_resource(WinitSettings { focused_mode: mode, unfocused_mode: UpdateMode::reactive(pause) });
        build(&mut app, loaded, options, show, quality);
        app.run()
    });
    match ended {
        Ok(AppExit::Success) => Ok(()),
        Ok(AppExit::Error(code)) => Err(WindowError::Broke(format!("exit code {code}"))),
        Err(message) => Err(WindowError::Start(message)),
    }
}

fn build(app: &mut App, loaded: &Loaded, options: &StageOptions, show: Box<dyn Show>, quality: Quality) {
    app.set_error_handler(bevy::ecs::error::error);
    app.insert_resource(super::BACKGROUND);
    app.insert_resource(quality);
    app.init_resource::<Episode>();
    app.insert_resource(loaded.scene.clone());
    app.configure_sets(Update, (UiSystems::Act, UiSystems::Present).chain());
    app.add_plugins((EguiPlugin::default(), matte::plugin, quality::plugin, visuals::plugin, camera_rig::plugin));
    app.insert_resource(CameraRig { now: options.view, goal: options.view, ..default() });
    app.add_systems(PreUpdate, read_keys.after(bevy_egui::EguiPreUpdateSet::BeginPass));
    app.add_systems(Update, (pose, close).chain().in_set(UiSystems::Act));
    app.add_systems(EguiPrimaryContextPass, panels);
    let world = app.world_mut();
    for (index, arm) in options.arms.iter().enumerate() {
        let entity =
            spawn_arm(&mut world.commands(), loaded.model.clone(), loaded.arm.clone(), loaded.servo.clone(), ());
        world.commands().entity(entity).insert(OnStage(index));
        if arm.wanted {
            world.commands().entity(entity).insert(Translucent(Color::srgb(0.35, 0.65, 1.0)));
        }
    }
    if options.props {
        spawn_props(&mut world.commands(), &loaded.scene.scene);
    }
    world.spawn(camera());
    world.flush();
    world.insert_resource(Stage { show, arms: options.arms.clone(), shown: Vec::new() });
}

fn pose(
    time: Res<Time<Real>>,
    mut stage: ResMut<Stage>,
    arms: Query<(&Arm, &OnStage)>,
    mut links: Query<&mut WorldPose, (With<ArmLink>, Without<PropBody>)>,
    mut props: Query<(&PropBody, &mut WorldPose), Without<ArmLink>>,
) {
    let poses = stage.show.poses_rad(time.elapsed_secs_f64());
    stage.shown = poses.iter().map(Option::is_some).collect();
    for (arm, OnStage(index)) in &arms {
        let Some((x, y)) = stage.arms.get(*index).map(|arm| arm.place_m) else { continue };
        let known = poses.get(*index).and_then(Option::as_ref);
        let rest = vec![0.0; arm.joints.len()];
        let place = Vec3::new(x, y, if known.is_some() { 0.0 } else { OFF_STAGE_M });
        for (link, pose) in arm.links.iter().zip(arm.model.link_poses(known.unwrap_or(&rest))) {
            if let Ok(mut world_pose) = links.get_mut(*link) {
                let at = pose.translation.as_vec3() + place;
                *world_pose = WorldPose::at(Pose::from_parts(at, pose.rotation.as_quat()));
            }
        }
    }
    let places = stage.show.props();
    for (prop, mut world_pose) in &mut props {
        if let Some(place) = places.get(prop.index) {
            *world_pose = WorldPose::at(*place);
        }
    }
}

fn close(stage: Res<Stage>, mut exits: MessageWriter<AppExit>) {
    if stage.show.is_over() {
        exits.write(AppExit::Success);
    }
}

fn read_keys(keys: Res<ButtonInput<KeyCode>>, egui: Res<EguiWantsInput>, mut stage: ResMut<Stage>) {
    if egui.wants_any_keyboard_input() {
        return;
    }
    for key in keys.get_just_pressed() {
        stage.show.key(*key);
    }
}

fn panels(
    mut contexts: EguiContexts,
    mut stage: ResMut<Stage>,
    cameras: Query<(&Camera, &GlobalTransform), With<MainCamera>>,
    mut prepared: Local<theme::Prepared>,
) -> Result {
    let ctx = contexts.ctx_mut()?;
    theme::prepare(ctx, &mut prepared);
    if let Ok((camera, eye)) = cameras.single() {
        let painter = ctx.layer_painter(egui::LayerId::background());
        for (arm, _) in stage.arms.iter().zip(&stage.shown).filter(|(_, shown)| **shown) {
            let above = Vec3::new(arm.place_m.0, arm.place_m.1, WORDS_ABOVE_M);
            let Ok(at) = camera.world_to_viewport(eye, above) else { continue };
            let at = egui::Pos2::new(at.x, at.y) / ctx.zoom_factor();
            if !arm.words.is_empty() {
                let words = painter.layout_no_wrap(arm.words.into(), egui::FontId::proportional(14.0), TEXT);
                // Above the arm, but inside the window.
                let at = egui::Pos2::new(at.x, at.y.max(words.size().y + 12.0));
                let place = Align2::CENTER_BOTTOM.anchor_size(at, words.size());
                painter.rect_filled(place.expand2(egui::Vec2::new(9.0, 4.0)), 7.0, GROOVE);
                painter.galley(place.min, words, TEXT);
            }
        }
    }
    stage.show.panels(ctx);
    Ok(())
}
