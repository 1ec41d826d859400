//! `etude practise` and `etude screenshot`: the practice window, or, where there is none, the same task headless.

use super::{CliError, WorldArgs, say, width_x_height};
use crate::app::{Loaded, RunOptions};
use crate::camera::{CameraFrame, CameraSensor, CamerasInUse};
use crate::episode::EpisodePhase;
use crate::headless::Headless;
use crate::operator::Operator;
use crate::task::expert::Expert;
use crate::ui::camera_rig::View;
use crate::ui::planar::Who;
use crate::ui::quality::Quality;
use crate::ui::screenshot;
use crate::window::{self, PictureOptions, WindowError, WindowOptions};
use clap::{Args, Parser, ValueEnum};
use std::path::PathBuf;

/// Options of `etude practise`.
#[derive(Args, Debug)]
pub(super) struct PractiseArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Seed of the first start.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Begin by watching the expert.
    #[arg(long)]
    watch: bool,
    /// Quality of the picture; without it chosen by the graphics driver.
    #[arg(long, value_name = "QUALITY")]
    quality: Option<Quality>,
    /// Size of the window.
    #[arg(long, default_value = "1280x720", value_name = "WxH", value_parser = parse_size)]
    size: (u32, u32),
    /// Measure frames per second for this long, print them as JSON and close.
    #[arg(long, value_name = "SECONDS")]
    measure_fps: Option<f64>,
}

impl Default for PractiseArgs {
    fn default() -> Self {
        #[derive(Parser)]
        struct Defaults {
            #[command(flatten)]
            practise: PractiseArgs,
        }
        Defaults::parse_from(["etude"]).practise
    }
}

/// Options of `etude screenshot`.
#[derive(Args, Debug)]
// Its own `--camera` names a camera to look through.
#[command(mut_arg("real_cameras", |arg| arg.long("given-camera").hide(true)))]
pub(super) struct ScreenshotArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// The picture.
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    /// Seed of the start.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Moment of the expert's attempt, s.
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    at: f64,
    /// Size of the picture.
    #[arg(long, default_value = "1280x720", value_name = "WxH", value_parser = parse_size)]
    size: (u32, u32),
    /// Quality of the picture; without it chosen by the graphics driver.
    #[arg(long, value_name = "QUALITY")]
    quality: Option<Quality>,
    /// Where it is seen from.
    #[arg(long, default_value = "front")]
    view: ViewArg,
    /// With the help open.
    #[arg(long)]
    help_open: bool,
    /// Instead of the window, what this camera of the scene sees; needs no graphics driver.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["view", "quality", "help_open"])]
    camera: Option<String>,
}

/// Views of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ViewArg {
    /// Facing the arm.
    Front,
    /// From its side.
    Side,
    /// From above.
    Top,
    /// Close to the wrist.
    Wrist,
}

impl From<ViewArg> for View {
    fn from(view: ViewArg) -> Self {
        match view {
            ViewArg::Front => Self::Front,
            ViewArg::Side => Self::Side,
            ViewArg::Top => Self::Top,
            ViewArg::Wrist => Self::Wrist,
        }
    }
}

/// Width and height such as `1280x720`.
fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let remedy = "give width x height in pixels, from 320x240 to 7680x4320, such as 1280x720";
    let size = width_x_height(text).ok_or(remedy)?;
    if (320..=7680).contains(&size.0) && (240..=4320).contains(&size.1) { Ok(size) } else { Err(remedy.into()) }
}

pub(super) fn practise(args: &PractiseArgs, verbose: u8) -> Result<(), CliError> {
    if args.measure_fps.is_some_and(|seconds| !(0.5..=3600.0).contains(&seconds)) {
        return Err(CliError::Usage("--measure-fps: give a number from 0.5 to 3600 s".into()));
    }
    if args.world.task == super::planar::NAME {
        let who = if args.watch { Who::Expert(Box::default()) } else { Who::Person };
        return super::planar::window(&args.world, args.seed, args.size, verbose, who);
    }
    let mut run = args.world.options(if args.watch { Operator::Scripted } else { Operator::Human })?;
    let loaded = Loaded::new(&run)?;
    let scene = &loaded.scene.scene;
    if args.world.expert != Expert::Place {
        args.world.check_expert(scene, "")?;
    }
    if args.watch && !args.world.expert.can_do(scene) {
        run.operator = Operator::Human;
    }
    let options = WindowOptions {
        run,
        seed: args.seed,
        quality: args.quality,
        size: args.size,
        measure_s: args.measure_fps,
        verbose,
    };
    match window::open(&loaded, &options) {
        Ok(Some(rate)) => say(serde_json::to_string(&rate).unwrap_or_default()),
        Ok(None) => Ok(()),
        Err(fault) if fault.before_start() && args.measure_fps.is_none() => without_window(args, &fault),
        Err(fault) => Err(CliError::Window(fault.to_string())),
    }
}

/// Says why there is no window, and lets the expert do the task.
fn without_window(args: &PractiseArgs, fault: &WindowError) -> Result<(), CliError> {
    let remedy = match fault {
        WindowError::NoDisplay(_) => "to practise, start etude on a desktop",
        _ => "to practise, install a Vulkan driver (mesa-vulkan-drivers draws even without a GPU)",
    };
    let mut headless = Headless::new(&args.world.options(Operator::Scripted)?)?;
    let scene = headless.scene();
    if !args.world.expert.can_do(&scene) {
        return Err(CliError::Window(format!("{fault}; {remedy}; \"{}\" has nothing an expert could do", scene.title)));
    }
    eprintln!("etude: {fault}; {remedy}. Here the scripted expert does {}, seed {}:", scene.title, args.seed);
    let report = headless.run(args.seed)?;
    let verdict = if report.success { "done" } else { "not done" };
    say(format!("{}: {verdict}, score {:.3}, {:.1} s", scene.title, report.score, report.seconds))
}

pub(super) fn screenshot(args: &ScreenshotArgs, verbose: u8) -> Result<(), CliError> {
    if !(0.0..=3600.0).contains(&args.at) {
        return Err(CliError::Usage(format!("--at {}: give a number from 0 to 3600 s", args.at)));
    }
    if args.world.task == super::planar::NAME {
        let bytes = super::planar::picture(args.seed, args.at, args.size);
        return screenshot::write(&args.out, &encode_png(&bytes, args.size)?).map_err(CliError::Window);
    }
    let mut run = args.world.options(Operator::Scripted)?;
    let loaded = Loaded::new(&run)?;
    if args.world.expert != Expert::Place {
        args.world.check_expert(&loaded.scene.scene, "")?;
    }
    if !args.world.expert.can_do(&loaded.scene.scene) {
        run.operator = Operator::Human;
    }
    if let Some(camera) = &args.camera {
        return camera_picture(args, &run, camera);
    }
    let options = PictureOptions {
        run,
        seed: args.seed,
        at_s: args.at,
        size: args.size,
        quality: args.quality,
        view: args.view.into(),
        help: args.help_open,
        verbose,
    };
    let png = window::picture(&loaded, &options).map_err(|fault| {
        CliError::Window(format!("{fault}; install a Vulkan driver (mesa-vulkan-drivers draws even without a GPU)"))
    })?;
    screenshot::write(&args.out, &png).map_err(CliError::Window)
}

/// What a simulated camera sees at a moment of the expert's attempt.
fn camera_picture(args: &ScreenshotArgs, run: &RunOptions, name: &str) -> Result<(), CliError> {
    let mut headless = Headless::new(run)?;
    let (width, height) = args.size;
    let world = headless.app.world_mut();
    let mut known = Vec::new();
    for mut sensor in world.query::<&mut CameraSensor>().iter_mut(world) {
        known.push(sensor.config.name.clone());
        (sensor.config.width, sensor.config.height) = (width, height);
    }
    if !known.iter().any(|other| other == name) {
        let known = known.join(", ");
        return Err(CliError::Usage(format!("--camera {name}: this scene has {known}")));
    }
    headless.start(args.seed)?;
    let ticks = (args.at * f64::from(run.control_hz)).round() as u64;
    while headless.episode().tick < ticks && headless.episode().phase == EpisodePhase::Running {
        headless.tick();
    }
    // Only the last tick is looked at.
    headless.app.insert_resource(CamerasInUse::Named(vec![name.to_string()]));
    headless.tick();
    let world = headless.app.world_mut();
    let mut frames = world.query::<(&CameraSensor, &CameraFrame)>();
    let frame = frames.iter(world).find(|(sensor, frame)| sensor.config.name == name && !frame.rgb.is_empty());
    let (_, frame) = frame.ok_or_else(|| CliError::Window(format!("camera {name} drew nothing; -v tells why")))?;
    let png = encode_png(&frame.rgb, (frame.width, frame.height))?;
    screenshot::write(&args.out, &png).map_err(CliError::Window)
}

/// RGB rows as a PNG file.
fn encode_png(rgb: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(rgb));
    written.map_err(|fault| CliError::Window(format!("the picture could not be encoded: {fault}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_size("1920x1080"), Ok((1920, 1080)));
        for text in ["", "1280", "1280x", "x720", "-1x720", "1280x720x3", "99999x720", "10x10"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn practise_has_defaults() {
        assert_eq!(PractiseArgs::default().size, (1280, 720));
    }
}
