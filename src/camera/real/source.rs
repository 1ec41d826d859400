//! Where pictures come from, as a user writes it and as a camera's thread sees it.

use super::capture::Capture;
use super::error::CameraError;
use super::mode::Mode;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Opens a source again and again: at first, and whenever it was lost.
pub trait Opener: Send {
    /// Opens it for pictures of this size (pixels) at this rate (pictures per second), as nearly as it can.
    ///
    /// # Errors
    /// [`CameraError`] with what is wrong and what to do.
    fn open(&mut self, size: (u32, u32), fps: u32) -> Result<Box<dyn Source>, CameraError>;
}

/// An open camera, or what stands in for it. It lives in its camera's thread.
pub trait Source {
    /// Waits for the next picture, about as long as one takes.
    ///
    /// # Errors
    /// [`SourceFault`]: whether this picture alone or the camera is gone.
    fn next(&mut self) -> Result<Capture<'_>, SourceFault>;

    /// What it delivers.
    fn mode(&self) -> Mode;

    /// Whether it is large enough for this size, so that it need not be opened anew when the size changes.
    fn suits(&self, size: (u32, u32)) -> bool;

    /// What is worth telling about it, such as settings the driver does not hold still.
    fn notes(&self) -> &[String] {
        &[]
    }
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFault {
    /// This one is unusable; the next may be fine.
    Broken(String),
    /// The camera is gone.
    Lost(String),
}

/// Where a camera's pictures come from.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraSource {
    /// A camera of this computer: its stable name, serial number, or device file.
    Device(String),
    /// The PNG and JPEG files of a folder by name, again and again.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Pictures per second.
        fps: f64,
    },
    /// An mp4 file, again and again.
    File {
        /// The file.
        path: PathBuf,
        /// Pictures per second; `None` as the file says.
        fps: Option<f64>,
    },
}

/// Pictures per second of a folder, if nothing is said.
const FOLDER_FPS: f64 = 30.0;

impl FromStr for CameraSource {
    type Err = CameraError;

    fn from_str(text: &str) -> Result<Self, CameraError> {
        let remedy =
            "give folder:PATH or file:PATH, if wanted with @ and pictures per second, or a camera of `etude cameras`";
        let Some((kind, rest)) = text.split_once(':').filter(|(kind, _)| ["folder", "file"].contains(kind)) else {
            return match text.trim() {
                "" => Err(CameraError::spec(text, "nothing is named", remedy)),
                id => Ok(Self::Device(id.to_string())),
            };
        };
        // Only what is a number after the last @ is a rate: folders may have an @ in their names.
        let (path, fps) = match rest.rsplit_once('@').map(|(path, fps)| (path, fps.parse::<f64>())) {
            Some((path, Ok(fps))) => (path, Some(fps)),
            _ => (rest, None),
        };
        if path.is_empty() {
            return Err(CameraError::spec(text, "there is no path", remedy));
        }
        if fps.is_some_and(|fps| !(1.0..=240.0).contains(&fps)) {
            return Err(CameraError::spec(text, "that is no rate", "give from 1 to 240 pictures per second"));
        }
        let path = PathBuf::from(path);
        Ok(match kind {
            "folder" => Self::Folder { path, fps: fps.unwrap_or(FOLDER_FPS) },
            _ => Self::File { path, fps },
        })
    }
}

impl fmt::Display for CameraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => f.write_str(id),
            Self::Folder { path, fps } => write!(f, "folder:{}@{fps}", path.display()),
            Self::File { path, fps: None } => write!(f, "file:{}", path.display()),
            Self::File { path, fps: Some(fps) } => write!(f, "file:{}@{fps}", path.display()),
        }
    }
}

/// A name and where its pictures come from: `front=folder:pictures@15`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSource {
    /// The camera's name in scenes, datasets and policies.
    pub name: String,
    /// Where its pictures come from.
    pub source: CameraSource,
}

impl NamedSource {
    /// Checks a camera's name: it becomes part of file and column names.
    ///
    /// # Errors
    /// [`CameraError::Spec`].
    pub fn check_name(name: &str) -> Result<(), CameraError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !name.is_empty() && name.len() <= 64 && name.chars().all(fine) {
            return Ok(());
        }
        Err(CameraError::spec(
            name,
            "that is no name for a camera",
            "give letters, digits, \"_\" and \"-\", such as front or wrist",
        ))
    }
}

impl FromStr for NamedSource {
    type Err = CameraError;

    fn from_str(text: &str) -> Result<Self, CameraError> {
        let (name, source) = text.split_once('=').ok_or_else(|| {
            CameraError::spec(text, "the name is missing", "give NAME=SOURCE, such as front=folder:pictures@15")
        })?;
        Self::check_name(name)?;
        Ok(Self { name: name.to_string(), source: source.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<NamedSource, CameraError> {
        text.parse()
    }

    #[test]
    fn sources_are_read_as_they_are_written() {
        let source = |text: &str| named(&format!("front={text}")).unwrap().source;
        assert_eq!(source("folder:a/b@15"), CameraSource::Folder { path: "a/b".into(), fps: 15.0 });
        assert_eq!(source("folder:me@home"), CameraSource::Folder { path: "me@home".into(), fps: 30.0 });
        assert_eq!(source("file:x=y.mp4"), CameraSource::File { path: "x=y.mp4".into(), fps: None });
        assert_eq!(source("file:x.mp4@60"), CameraSource::File { path: "x.mp4".into(), fps: Some(60.0) });
        assert_eq!(source("usb-046d_C920-index0"), CameraSource::Device("usb-046d_C920-index0".into()));
        for text in ["folder:a/b@15", "file:x.mp4", "file:x.mp4@60", "usb-C920"] {
            assert_eq!(source(text).to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_remedy() {
        for text in ["front", "=folder:x", "a b=folder:x", "front=", "front=folder:", "front=file:x@0", "f=file:x@1e9"]
        {
            let error = named(text).unwrap_err().to_string();
            assert!(error.contains("give "), "{text}: {error}");
        }
    }
}
