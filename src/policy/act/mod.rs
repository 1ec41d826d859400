//! ACT: a transformer that turns pictures and joint positions into a chunk of actions (Zhao et al. 2023), the same
//! function as LeRobot's, tensor by tensor.

mod config;
mod ensemble;
mod model;
mod position;
mod transformer;

pub use config::{ActConfig, Activation};
pub use ensemble::TemporalEnsemble;
pub use model::{Act, ActInput, ActLoss};
pub use transformer::{Encoder, LayerShape};
