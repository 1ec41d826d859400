//! Datasets: recorded episodes on disk in LeRobot's format v3.0.
//!
//! [`schema`] says what a dataset holds. A [`Writer`] records into one: `encode` turns pictures into video beside the
//! recording, `journal` keeps what is not saved yet, `commit` makes a finished episode part of the dataset in one
//! step. A [`Dataset`] reads rows, windows and pictures, from v2.1 too; [`stats`] are the numbers that training
//! normalises with. [`check`] finds faults, [`edit`] changes a dataset and takes the change back, [`export`] hands it
//! to other tools. docs/dataset.md draws the files.
//!
//! Values of state and action are stored in the unit LeRobot uses for the robot (degrees for the SO-100's joints);
//! nothing in this module converts them.

mod av1;
pub mod bulk;
mod catalog;
pub mod check;
mod check_pictures;
mod check_rows;
mod commit;
mod disk;
pub mod edit;
mod encode;
mod error;
pub mod export;
mod h264;
mod journal;
mod lock;
mod measure;
mod mp4;
mod notes;
mod pixels;
mod queue;
mod reader;
mod rebuild;
mod row;
mod saver;
pub mod schema;
mod segments;
pub mod stats;
mod table;
mod v21;
mod video;
mod writer;

pub use catalog::{Episode, FileRef, VideoRef};
pub use disk::free_bytes;
pub use encode::{CameraReport, Load, Pressure};
pub use error::{DatasetError, Result};
pub use journal::CutEpisode;
pub use measure::{FrameMeasure, THUMBNAIL, Thumbnail};
pub use notes::Note;
pub use pixels::Image;
pub use reader::{Dataset, Rows, Window};
pub use row::{Outcome, Row, RowExtra, Source};
pub use schema::{CameraSpec, Feature, Info, Spec};
pub use segments::Segments;
pub use video::{TIME_TOLERANCE_S, VideoFrames};
pub use writer::{Event, Saved, Writer, WriterOptions};
