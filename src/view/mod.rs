//! Looking at a dataset: [`model`] reads what is shown, [`state`] is what the person has chosen and does the edits, [`page`]
//! draws it with egui, [`sheet`] draws one episode as a picture, and [`paint`] paints egui's shapes on the CPU, so that
//! neither needs a display or a graphics driver. [`curves`] is the page of a training run.

pub mod curves;
pub mod model;
pub mod page;
pub mod paint;
pub mod plots;
pub mod sheet;
pub mod state;
