//! SmolVLA (Shukor et al. 2025) for inference: a small vision-language model reads pictures, the task's words and the
//! joint positions; an action expert that looks at its layers turns noise into actions. The same function as LeRobot's,
//! tensor by tensor.
//!
//! The words come as token numbers: the tokenizer is no part of a checkpoint.

mod config;
mod expert;
mod model;
mod picture;
mod siglip;

pub use config::{SmolVlaConfig, VlmShape};
pub use model::{SmolVla, SmolVlaInput};
pub use picture::resize_with_padding;
