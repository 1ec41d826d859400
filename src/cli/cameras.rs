//! `etude cameras`: what cameras there are, what they see, and which is which.

use super::{CliError, say, width_x_height};
use crate::camera::live::opener_of;
use crate::camera::real::{
    Backoff, CameraSource, FoundCamera, Health, KnownCameras, Mode, NamedSource, Picture, RealCamera, find_camera,
    find_cameras, modes_of,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Options of `etude cameras`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct CamerasArgs {
    #[command(subcommand)]
    verb: Option<CamerasVerb>,
    /// Save a picture of each camera into this folder.
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// How long all of them are watched together, s; 0 only lists them.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// Size of the pictures asked for.
    #[arg(long, default_value = "640x480", value_name = "WxH", value_parser = parse_size)]
    size: (u32, u32),
    /// Pictures per second asked for.
    #[arg(long, default_value_t = 30, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    /// Another camera to watch, such as test=folder:pictures@15 or test=file:film.mp4.
    #[arg(long = "camera", value_name = "NAME=SOURCE")]
    cameras: Vec<NamedSource>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum CamerasVerb {
    /// Give a camera a name once; `--arm real` then uses it by that name.
    Bind {
        /// Its name in datasets and policies, such as front or wrist.
        name: String,
        /// Stable name, serial number or device file as `etude cameras` shows it; or folder:PATH, file:PATH.
        source: CameraSource,
    },
    /// Forget a name.
    Unbind {
        /// The name.
        name: String,
    },
}

/// Width and height such as `640x480`.
fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let fits = |side: u32| (16..=4096).contains(&side);
    width_x_height(text)
        .filter(|size| fits(size.0) && fits(size.1))
        .ok_or_else(|| "give width x height in pixels from 16 to 4096, such as 640x480".into())
}

/// A camera and how it did.
#[derive(Serialize)]
struct Line {
    id: String,
    /// Name it is bound to.
    bound_to: Option<String>,
    device: Option<PathBuf>,
    name: Option<String>,
    serial_number: Option<String>,
    usb_id: Option<String>,
    /// What the driver offers; empty for what stands in for a camera.
    modes: Vec<Mode>,
    mode: Option<Mode>,
    /// Pictures per second while all were open.
    fps: Option<f64>,
    /// Bytes per second that came from the camera, 10^6.
    megabytes_per_s: Option<f64>,
    /// Time of its first picture after opening, s.
    first_picture_s: Option<f64>,
    broken_pictures: u64,
    losses: u64,
    notes: Vec<String>,
    picture: Option<PathBuf>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Report {
    cameras: Vec<Line>,
    /// Names bound to cameras that are not there now.
    missing: BTreeMap<String, String>,
    remedy: Option<&'static str>,
}

/// What to do where no camera is found.
const NO_CAMERA: &str = "plug a webcam in, or give a container its device (--device /dev/video0); without one, a folder of \
                         pictures or a video stands in: --camera front=folder:PATH@30, --camera front=file:PATH";
/// How long a camera may take until its first picture.
const FIRST_PICTURE: Duration = Duration::from_secs(8);

pub(super) fn cameras(args: &CamerasArgs) -> Result<(), CliError> {
    match &args.verb {
        Some(CamerasVerb::Bind { name, source }) => return bind(name, source),
        Some(CamerasVerb::Unbind { name }) => return unbind(name),
        None => {}
    }
    if !(0.0..=3600.0).contains(&args.seconds) {
        return Err(CliError::Usage(format!("--seconds {}: give a number from 0 to 3600", args.seconds)));
    }
    let known = known()?;
    let found = find_cameras();
    let mut lines: Vec<Line> = found.iter().map(|camera| line_of(camera, &known)).collect();
    for named in &args.cameras {
        check_source(&named.source)?;
        lines.push(Line { bound_to: Some(named.name.clone()), ..blank(&named.source.to_string()) });
    }
    let missing = known
        .cameras
        .iter()
        .filter(|bound| match bound.source.parse() {
            Ok(CameraSource::Device(id)) => !found.iter().any(|camera| camera.is(&id)),
            _ => false,
        })
        .map(|bound| (bound.name.clone(), bound.source.clone()))
        .collect();
    if args.seconds > 0.0 {
        watch(args, &mut lines)?;
    }
    let remedy = lines.is_empty().then_some(NO_CAMERA);
    let report = Report { cameras: lines, missing, remedy };
    if args.json {
        return say(serde_json::to_string(&report).unwrap_or_default());
    }
    tell(&report)
}

fn file() -> Result<PathBuf, CliError> {
    KnownCameras::user_file().ok_or_else(|| CliError::Usage("no home folder for the names of cameras; set HOME".into()))
}

fn known() -> Result<KnownCameras, CliError> {
    Ok(KnownCameras::user_file().map_or_else(|| Ok(KnownCameras::default()), |file| KnownCameras::load(&file))?)
}

/// The cameras bound on this computer.
pub(super) fn bound() -> Result<Vec<NamedSource>, CliError> {
    Ok(known()?.sources()?)
}

/// Complains of a source that is not there.
pub(super) fn check_source(source: &CameraSource) -> Result<(), CliError> {
    match source {
        CameraSource::Device(id) => drop(find_camera(id)?),
        other => drop(opener_of(other).open((640, 480), 30)?),
    }
    Ok(())
}

fn bind(name: &str, source: &CameraSource) -> Result<(), CliError> {
    NamedSource::check_name(name)?;
    check_source(source)?;
    // Under whatever name it was given: what is kept is the one that stays.
    let source = match source {
        CameraSource::Device(id) => CameraSource::Device(find_camera(id)?.id),
        CameraSource::Folder { path, fps } => CameraSource::Folder { path: std::path::absolute(path)?, fps: *fps },
        CameraSource::File { path, fps } => CameraSource::File { path: std::path::absolute(path)?, fps: *fps },
    };
    let file = file()?;
    let mut known = known()?;
    known.bind(name, &source);
    known.save(&file)?;
    say(format!("{name} is {source} from now on ({})", file.display()))
}

fn unbind(name: &str) -> Result<(), CliError> {
    let file = file()?;
    let mut known = known()?;
    if !known.unbind(name) {
        let names: Vec<&str> = known.cameras.iter().map(|camera| camera.name.as_str()).collect();
        let names = if names.is_empty() { "none is".to_string() } else { names.join(", ") };
        return Err(CliError::Usage(format!("{name}: no camera is bound to this name; bound: {names}")));
    }
    known.save(&file)?;
    say(format!("{name} is forgotten"))
}

fn blank(id: &str) -> Line {
    Line {
        id: id.into(),
        bound_to: None,
        device: None,
        name: None,
        serial_number: None,
        usb_id: None,
        modes: Vec::new(),
        mode: None,
        fps: None,
        megabytes_per_s: None,
        first_picture_s: None,
        broken_pictures: 0,
        losses: 0,
        notes: Vec::new(),
        picture: None,
        problem: None,
    }
}

fn line_of(camera: &FoundCamera, known: &KnownCameras) -> Line {
    let is_it = |source: &str| matches!(source.parse(), Ok(CameraSource::Device(id)) if camera.is(&id));
    let (modes, problem) = match modes_of(camera) {
        Ok(modes) => (modes, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Line {
        bound_to: known.cameras.iter().find(|bound| is_it(&bound.source)).map(|bound| bound.name.clone()),
        device: Some(camera.device.clone()),
        name: Some(camera.name.clone()),
        serial_number: camera.serial_number.clone(),
        usb_id: camera.usb_id.clone(),
        modes,
        problem,
        ..blank(&camera.id)
    }
}

/// Opens all cameras together and notes how each does.
fn watch(args: &CamerasArgs, lines: &mut [Line]) -> Result<(), CliError> {
    let began = Instant::now();
    let mut cameras = Vec::new();
    for (index, line) in lines.iter_mut().enumerate().filter(|(_, line)| line.problem.is_none()) {
        let source: CameraSource = line.id.parse()?;
        let name = line.bound_to.clone().unwrap_or_else(|| format!("camera{index}"));
        let camera = RealCamera::start(&name, &line.id, opener_of(&source), (args.size, args.fps), Backoff::default())?;
        cameras.push((index, camera));
    }
    for (index, camera) in &cameras {
        let left = FIRST_PICTURE.saturating_sub(began.elapsed());
        if camera.wait(left, |health| health.pictures > 0) {
            lines[*index].first_picture_s = Some(round(began.elapsed().as_secs_f64(), 100.0));
        }
    }
    // From here on all are open: the bus carries what it will carry in use.
    let before: Vec<Health> = cameras.iter().map(|(_, camera)| camera.health()).collect();
    let (mut picture, mut unused) = (Picture::default(), Health::default());
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(args.seconds));
    let seconds = start.elapsed().as_secs_f64();
    let after: Vec<Health> = cameras.iter().map(|(_, camera)| camera.health()).collect();
    for (((index, camera), before), after) in cameras.iter().zip(before).zip(after) {
        let line = &mut lines[*index];
        line.mode = after.mode;
        line.fps = Some(round((after.pictures - before.pictures) as f64 / seconds, 10.0));
        line.megabytes_per_s = Some(round((after.bytes - before.bytes) as f64 / seconds / 1e6, 100.0));
        (line.broken_pictures, line.losses) = (after.broken, after.losses);
        line.notes = after.notes.to_vec();
        line.problem = after.problem.as_deref().map(String::from);
        if line.problem.is_none() && line.first_picture_s.is_none() {
            line.problem =
                Some(format!("no picture came within {} s; unplug it and plug it in again", FIRST_PICTURE.as_secs()));
        }
        if let Some(folder) = &args.pictures
            && camera.wait_for_picture(Duration::from_secs(2))
            && camera.take(&mut picture, &mut unused)
        {
            let file = folder.join(format!("{}.png", file_name(line.bound_to.as_deref().unwrap_or(&line.id))));
            write_png(&file, &picture)?;
            line.picture = Some(file);
        }
    }
    Ok(())
}

/// A name for a camera's picture that every file system takes.
fn file_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(80).collect()
}

fn write_png(path: &Path, picture: &Picture) -> Result<(), CliError> {
    let fail = |error: std::io::Error| CliError::Usage(format!("{}: {error}; give another folder", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let mut encoder =
        png::Encoder::new(BufWriter::new(File::create(path).map_err(fail)?), picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&picture.rgb));
    written.map_err(|error| fail(std::io::Error::other(error)))
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

fn tell(report: &Report) -> Result<(), CliError> {
    for line in &report.cameras {
        let bound = line.bound_to.as_ref().map_or(String::new(), |name| format!("  \"{name}\""));
        say(format!("{}{bound}", line.id))?;
        let mut about: Vec<String> = Vec::new();
        about.extend(line.name.clone());
        about.extend(line.device.as_ref().map(|device| device.display().to_string()));
        about.extend(line.usb_id.as_ref().map(|id| format!("USB {id}")));
        about.extend(line.serial_number.as_ref().map(|number| format!("serial number {number}")));
        if !about.is_empty() {
            say(format!("  {}", about.join(", ")))?;
        }
        for modes in describe_modes(&line.modes) {
            say(format!("  offers {modes}"))?;
        }
        if let (Some(mode), Some(fps), Some(rate)) = (line.mode, line.fps, line.megabytes_per_s) {
            let lost = if line.broken_pictures + line.losses > 0 {
                format!(", {} unusable pictures, lost {} times", line.broken_pictures, line.losses)
            } else {
                String::new()
            };
            say(format!("  with all open: {mode}, measured {fps} pictures/s, {rate} MB/s{lost}"))?;
        }
        for note in &line.notes {
            say(format!("  {note}"))?;
        }
        if let Some(file) = &line.picture {
            say(format!("  picture: {}", file.display()))?;
        }
        if let Some(problem) = &line.problem {
            say(format!("  {problem}"))?;
        } else if line.bound_to.is_none() {
            say(format!("  no name yet: etude cameras bind front {}", line.id))?;
        }
    }
    for (name, source) in &report.missing {
        say(format!(
            "\"{name}\" is bound to {source}, which is not there now: plug it in, or `etude cameras unbind {name}`"
        ))?;
    }
    if let Some(remedy) = report.remedy {
        say(format!("no camera found; {remedy}"))?;
    }
    Ok(())
}

/// Modes in few lines: one an encoding, sizes with their rates.
fn describe_modes(modes: &[Mode]) -> Vec<String> {
    let mut by_encoding: BTreeMap<String, BTreeMap<(u32, u32), Vec<u32>>> = BTreeMap::new();
    for mode in modes {
        let sizes = by_encoding.entry(mode.encoding.to_string()).or_default();
        sizes.entry((mode.width, mode.height)).or_default().push(mode.fps);
    }
    by_encoding
        .into_iter()
        .map(|(encoding, sizes)| {
            let sizes: Vec<String> = sizes
                .into_iter()
                .map(|((width, height), mut rates)| {
                    rates.sort_unstable();
                    let rates: Vec<String> = rates.iter().map(u32::to_string).collect();
                    format!("{width}x{height} at {}", rates.join("/"))
                })
                .collect();
            format!("{encoding}: {}", sizes.join(", "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::real::Encoding;

    #[test]
    fn modes_are_told_in_few_lines() {
        let mode = |width, height, fps, encoding| Mode { width, height, fps, encoding };
        let modes = [
            mode(640, 480, 30, Encoding::Jpeg),
            mode(640, 480, 15, Encoding::Jpeg),
            mode(320, 240, 30, Encoding::Jpeg),
            mode(640, 480, 30, Encoding::Yuyv),
        ];
        assert_eq!(describe_modes(&modes), ["MJPG: 320x240 at 30, 640x480 at 15/30", "YUYV: 640x480 at 30"]);
    }

    #[test]
    fn files_are_called_after_the_camera() {
        assert_eq!(file_name("front"), "front");
        assert_eq!(file_name("pci-0:1/2"), "pci-0_1_2");
    }
}
