//! Diffusion policy (Chi et al. 2023): actions drawn out of noise by a U-Net over time that sees pictures and joint
//! positions, the same function as LeRobot's, tensor by tensor.

mod config;
mod model;
mod schedule;
mod unet;

pub use config::{BetaSchedule, DiffusionConfig, Prediction, Sampler};
pub use model::{Diffusion, DiffusionInput};
pub use schedule::Schedule;
