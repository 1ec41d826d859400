//! The simulated camera: a rasteriser on the CPU whose pictures have the same bits on every machine.
//!
//! One tick in order: [`Renderer::begin_tick`] takes the poses of all [`Instance`]s and draws the sun's shadow map, which
//! every camera of the tick shares; [`Renderer::draw`] then draws one camera:
//! 1. every part that may be in view, without details much smaller than a pixel (`coarse`), is transformed and filled into a
//!    depth buffer with four samples a pixel (`fill`),
//! 2. every pixel is shaded once per visible part (`view`), the table top and backdrop analytically (`ground`),
//! 3. the mean of the samples goes through a tone curve to sRGB bytes (`tone`).
//!
//! Bits: only `+ - * /`, `sqrt` and integer arithmetic reach a pixel, always in the same order; no fused multiply-add, no
//! functions of the platform's maths library. On x86-64 with AVX2 the same source is compiled a second time for wider
//! vectors, which changes the speed and not one bit.
//!
//! Frames: the world has z up. Cameras use the optical convention of robotics: x right, y down, z forward.

#![allow(clippy::needless_range_loop, reason = "loops over lanes and channels index several arrays at once")]

mod blur;
mod coarse;
mod error;
mod fill;
mod ground;
mod lanes;
mod lens;
mod mesh;
mod model;
mod pose;
mod renderer;
mod scalar;
mod scene;
mod sensor;
mod shade;
mod sun;
mod tone;
mod vertex;
mod view;
mod wood;

#[cfg(test)]
mod tests;

pub use blur::blur;
pub use error::RasterError;
pub use mesh::RasterMesh;
pub use model::{CameraModel, LensDistortion};
pub use pose::Pose;
pub use renderer::Renderer;
pub use scene::{Backdrop, Instance, Light, Outline, RasterScene, TablePattern, TableTop};
pub use sensor::SensorModel;
pub use sun::LitScene;
pub use tone::linear_from_srgb8;
pub use view::CameraView;
