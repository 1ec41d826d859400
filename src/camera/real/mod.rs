//! Real cameras, and what stands in for them: webcams, folders of pictures, video files.
//!
//! A [`RealCamera`] is a named thread that opens its [`Opener`]'s source, keeps the newest picture in the size that was
//! asked for, and opens the source again when it is lost. It never ends by itself and nobody ever waits for it. No Bevy
//! in here: `camera::live` hands the pictures to the entities.

mod capture;
mod error;
mod feed;
mod find;
mod fit;
mod known;
mod lock;
mod mode;
mod source;
mod stand_in;
mod webcam;

#[cfg(test)]
mod feed_tests;

pub use capture::{Capture, Decoder, Encoding};
pub use error::CameraError;
pub use feed::{Backoff, Health, Picture, RealCamera};
pub use find::{FoundCamera, find_camera, find_cameras, find_cameras_in};
pub use fit::Fitter;
pub use known::{BoundCamera, KnownCameras};
pub use lock::{Control, Controls, lock_settings};
pub use mode::{Mode, choose_mode};
pub use source::{CameraSource, NamedSource, Opener, Source, SourceFault};
pub use stand_in::{FolderOpener, VideoOpener, read_picture};
pub use webcam::{WebcamOpener, modes_of};
