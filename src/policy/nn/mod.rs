//! Layers whose parameters have PyTorch's names and layouts (`weight` of a linear layer is `[out, in]`, of a norm the
//! scale, attention's three projections packed in `in_proj_weight`), so that a model's parameter paths are the tensor
//! names of a LeRobot checkpoint and nothing is renamed or transposed on the way in or out.

mod attention;
mod conv;
mod layers;
mod noise;

pub use attention::MultiHeadAttention;
pub use conv::{Conv1d, Conv2d, ConvTranspose1d, max_pool_3x3};
pub use layers::{Embedding, GroupNorm, LayerNorm, Linear, RmsNorm};
pub use noise::Noise;

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};

/// A parameter drawn evenly from `-bound..bound`.
pub(crate) fn uniform<const D: usize>(shape: [usize; D], bound: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::random(shape, Distribution::Uniform(-bound, bound), device))
}

/// A parameter drawn from a normal distribution around zero.
pub(crate) fn normal<const D: usize>(shape: [usize; D], std: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::random(shape, Distribution::Normal(0.0, std), device))
}

/// A parameter of one value everywhere.
pub(crate) fn constant<const D: usize>(shape: [usize; D], value: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}

/// A tensor of the checkpoint that training leaves alone: PyTorch's buffer.
pub(crate) fn buffer<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(value).set_require_grad(false)
}

/// Bound of Xavier's uniform initialisation for a matrix `[out, in]`.
pub(crate) fn xavier_bound(out: usize, input: usize) -> f64 {
    (6.0 / (out + input) as f64).sqrt()
}
