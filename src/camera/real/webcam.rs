//! Webcams, through nokhwa.

use super::capture::{Capture, Encoding};
use super::error::CameraError;
use super::find::{FoundCamera, find_camera};
use super::lock::{Control, Controls, lock_settings};
use super::mode::{Mode, choose_mode};
use super::source::{Opener, Source, SourceFault};
use nokhwa::Camera;
use nokhwa::utils::{
    CameraFormat, CameraIndex, ControlValueSetter, FrameFormat, KnownCameraControl, RequestedFormat,
    RequestedFormatType, Resolution,
};
use std::time::{Duration, Instant, SystemTime};

/// Encodings this program reads.
const FORMATS: [FrameFormat; 6] = [
    FrameFormat::MJPEG,
    FrameFormat::YUYV,
    FrameFormat::NV12,
    FrameFormat::GRAY,
    FrameFormat::RAWRGB,
    FrameFormat::RAWBGR,
];
/// Time that the automatics of a camera get to find good values before they are held still.
const SETTLE: Duration = Duration::from_millis(1500);
/// A time of capture this old or older is a clock gone wrong.
const OLDEST: Duration = Duration::from_secs(5);

fn encoding(format: FrameFormat) -> Encoding {
    match format {
        FrameFormat::MJPEG => Encoding::Jpeg,
        FrameFormat::YUYV => Encoding::Yuyv,
        FrameFormat::NV12 => Encoding::Nv12,
        FrameFormat::GRAY => Encoding::Gray,
        FrameFormat::RAWRGB => Encoding::Rgb,
        FrameFormat::RAWBGR => Encoding::Bgr,
    }
}

fn format_of(mode: Mode) -> CameraFormat {
    let format = match mode.encoding {
        Encoding::Jpeg => FrameFormat::MJPEG,
        Encoding::Yuyv => FrameFormat::YUYV,
        Encoding::Nv12 => FrameFormat::NV12,
        Encoding::Gray => FrameFormat::GRAY,
        Encoding::Rgb => FrameFormat::RAWRGB,
        Encoding::Bgr => FrameFormat::RAWBGR,
    };
    CameraFormat::new(Resolution::new(mode.width, mode.height), format, mode.fps)
}

fn mode_of(format: CameraFormat) -> Mode {
    let (width, height, fps) = (format.width(), format.height(), format.frame_rate());
    Mode { width, height, fps, encoding: encoding(format.format()) }
}

/// What a system's refusal means for the person.
fn refused(found: &FoundCamera, problem: &str) -> CameraError {
    let place = format!("{} ({})", found.id, found.device.display());
    let told = problem.to_ascii_lowercase();
    // The driver library passes on the system's text alone.
    let remedy = if told.contains("permission denied") || told.contains("os error 13") {
        "your user may not use cameras: `sudo usermod -aG video $USER`, then log in anew"
    } else if told.contains("busy") || told.contains("os error 16") {
        "another program uses it: close that one"
    } else {
        "unplug it and plug it in again, into another socket if that does not help"
    };
    CameraError::open(place, problem, remedy)
}

/// Opens the device in whatever mode it is and reads what it offers.
fn connect(found: &FoundCamera) -> Result<(Camera, Vec<Mode>), CameraError> {
    #[cfg(target_os = "linux")]
    if let Err(error) = std::fs::File::options().read(true).write(true).open(&found.device) {
        return Err(refused(found, &error.to_string()));
    }
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &FORMATS);
    let mut camera =
        Camera::new(CameraIndex::Index(found.index), any).map_err(|error| refused(found, &error.to_string()))?;
    let formats = camera.compatible_camera_formats().map_err(|error| refused(found, &error.to_string()))?;
    let mut modes: Vec<Mode> = formats.into_iter().map(mode_of).collect();
    modes.sort_unstable();
    modes.dedup();
    Ok((camera, modes))
}

/// The modes a camera of this computer offers.
///
/// # Errors
/// [`CameraError::Open`] when it cannot be asked.
pub fn modes_of(found: &FoundCamera) -> Result<Vec<Mode>, CameraError> {
    connect(found).map(|(_, modes)| modes)
}

/// A webcam by its stable name, serial number or device file.
#[derive(Clone, Debug)]
pub struct WebcamOpener {
    /// Which one.
    pub id: String,
}

impl Opener for WebcamOpener {
    fn open(&mut self, size: (u32, u32), fps: u32) -> Result<Box<dyn Source>, CameraError> {
        // Looked up anew each time: after replugging it may be another device file.
        let found = find_camera(&self.id)?;
        let (mut camera, modes) = connect(&found)?;
        let told = |error: nokhwa::NokhwaError| refused(&found, &error.to_string());
        let mode = choose_mode(&modes, size, fps).ok_or_else(|| {
            let problem = "it offers no mode that this program reads";
            CameraError::open(&*found.id, problem, "use a camera with MJPG, YUYV, NV12 or RGB pictures")
        })?;
        let exact = RequestedFormat::with_formats(RequestedFormatType::Exact(format_of(mode)), &FORMATS);
        camera.set_camera_requset(exact).map_err(told)?;
        camera.open_stream().map_err(told)?;
        let larger = |other: &Mode| other.width > mode.width && other.height > mode.height;
        let is_largest = !modes.iter().any(larger);
        Ok(Box::new(Webcam { camera, mode, is_largest, settled: Some(Instant::now() + SETTLE), notes: Vec::new() }))
    }
}

struct Webcam {
    camera: Camera,
    mode: Mode,
    is_largest: bool,
    /// When the settings shall be held still; `None`: they are.
    settled: Option<Instant>,
    notes: Vec<String>,
}

impl Source for Webcam {
    fn next(&mut self) -> Result<Capture<'_>, SourceFault> {
        if self.settled.is_some_and(|time| Instant::now() >= time) {
            self.settled = None;
            let (held, free) = lock_settings(&mut self.camera);
            let line =
                |what: &str, names: Vec<&str>| (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
            self.notes =
                [line("held still", held), line("the camera changes by itself", free)].into_iter().flatten().collect();
            bevy::log::info!("{}: {}", self.camera.info().human_name(), self.notes.join("; "));
        }
        let buffer = self.camera.frame().map_err(|error| SourceFault::Lost(error.to_string()))?;
        let size = buffer.resolution();
        Ok(Capture {
            encoding: encoding(buffer.source_frame_format()),
            width: size.width(),
            height: size.height(),
            captured: instant_of(buffer.capture_timestamp()),
            data: buffer.buffer().to_vec().into(),
        })
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn suits(&self, (width, height): (u32, u32)) -> bool {
        self.is_largest || (self.mode.width >= width && self.mode.height >= height)
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The moment of a capture that the driver counts since 1970; now, if it says nothing sensible.
fn instant_of(since_1970: Option<Duration>) -> Instant {
    let now = Instant::now();
    let age = since_1970.and_then(|time| SystemTime::UNIX_EPOCH.elapsed().ok()?.checked_sub(time));
    age.filter(|age| *age < OLDEST).and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// The name of a setting in nokhwa, which has its own for some.
fn known(control: Control) -> KnownCameraControl {
    match control {
        Control::WhiteBalance => KnownCameraControl::WhiteBalance,
        other => KnownCameraControl::Other(u128::from(other.id())),
    }
}

impl Controls for Camera {
    fn get(&self, control: Control) -> Option<i64> {
        match self.camera_control(known(control)).ok()?.value() {
            ControlValueSetter::Integer(value) => Some(value),
            ControlValueSetter::Boolean(value) => Some(i64::from(value)),
            _ => None,
        }
    }

    fn set(&mut self, control: Control, value: i64) -> bool {
        let value = if control.is_switch() {
            ControlValueSetter::Boolean(value != 0)
        } else {
            ControlValueSetter::Integer(value)
        };
        self.set_camera_control(known(control), value).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_explained() {
        let found = FoundCamera {
            id: "usb-C920".into(),
            device: "/dev/video0".into(),
            index: 0,
            name: "C920".into(),
            serial_number: None,
            usb_id: None,
        };
        let say = |problem: &str| refused(&found, problem).to_string();
        assert!(say("Permission denied (os error 13)").contains("usermod -aG video"));
        assert!(say("V4L2 Error: Device or resource busy (os error 16)").contains("another program"));
        assert!(say("Input/output error").contains("plug it in again"));
    }

    #[test]
    fn capture_times_become_moments() {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let taken = instant_of(Some(now - Duration::from_millis(300)));
        assert!(taken.elapsed() >= Duration::from_millis(300));
        // Both fall back to now.
        assert!(instant_of(Some(Duration::from_secs(1))).elapsed() < Duration::from_secs(60));
        assert!(instant_of(None).elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn modes_survive_the_drivers_words() {
        for format in FORMATS {
            let mode = Mode { width: 640, height: 480, fps: 30, encoding: encoding(format) };
            assert_eq!(mode_of(format_of(mode)), mode);
        }
    }
}
