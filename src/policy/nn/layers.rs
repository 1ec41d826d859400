//! Linear layers, norms and embeddings.

use super::{constant, normal, uniform, xavier_bound};
use burn::module::{Module, Param};
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Int, Tensor};

/// `x weightᵀ + bias` for `x` `[.., in]`, weight `[out, in]`, bias `[out]`. burn's own `linear` copies a transposed weight
/// when the batch is one.
pub(super) fn affine<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let mut shape = x.dims();
    let input = shape[D - 1];
    let rows = shape[..D - 1].iter().product();
    shape[D - 1] = weight.dims()[0];
    let y = x.reshape([rows, input]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze::<2>(),
        None => y,
    };
    y.reshape(shape)
}

/// `y = x weightᵀ + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// With PyTorch's initial values: both even in plus or minus 1 / sqrt(input).
    pub fn new(input: usize, output: usize, device: &Device) -> Self {
        let bound = 1.0 / (input as f64).sqrt();
        Self { weight: uniform([output, input], bound, device), bias: Some(uniform([output], bound, device)) }
    }

    /// Without a bias.
    pub fn without_bias(input: usize, output: usize, device: &Device) -> Self {
        Self { bias: None, ..Self::new(input, output, device) }
    }

    /// The weight drawn by Xavier's rule instead, as LeRobot does in ACT's transformers.
    pub fn xavier(input: usize, output: usize, device: &Device) -> Self {
        Self {
            weight: uniform([output, input], xavier_bound(output, input), device),
            ..Self::new(input, output, device)
        }
    }

    /// `[.., input]` to `[.., output]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        affine(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[width]`.
    pub bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Scale 1, shift 0.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: constant([width], 1.0, device), bias: constant([width], 0.0, device), epsilon }
    }

    /// `[.., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}

/// Divides the last dimension by its root mean square, then scales.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    /// Scale 1.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: constant([width], 1.0, device), epsilon }
    }

    /// `[.., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mean_square = (x.clone() * x.clone()).mean_dim(D - 1);
        x * mean_square.add_scalar(self.epsilon).sqrt().recip() * self.weight.val().unsqueeze::<D>()
    }
}

/// Normalises groups of channels over everything but the batch, then scales and shifts each channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    groups: usize,
}

impl GroupNorm {
    /// Scale 1, shift 0; `groups` has to divide `channels`.
    pub fn new(groups: usize, channels: usize, device: &Device) -> Self {
        Self { weight: constant([channels], 1.0, device), bias: constant([channels], 0.0, device), groups }
    }

    /// `[batch, channels, ..]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.dims();
        let (batch, channels) = (shape[0], shape[1]);
        let rest: usize = shape[2..].iter().product();
        let x = x.reshape([batch * self.groups, channels / self.groups * rest]);
        let centred = x.clone() - x.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let x = (centred * variance.add_scalar(1e-5).sqrt().recip()).reshape([batch, channels, rest]);
        let channel = |p: &Param<Tensor<1>>| p.val().reshape([1, channels, 1]);
        (x * channel(&self.weight) + channel(&self.bias)).reshape(shape)
    }
}

/// A table of vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Drawn from the standard normal distribution, as PyTorch does.
    pub fn new(rows: usize, width: usize, device: &Device) -> Self {
        Self { weight: normal([rows, width], 1.0, device) }
    }

    /// The rows asked for: `[batch, n]` to `[batch, n, width]`.
    pub fn forward(&self, rows: Tensor<2, Int>) -> Tensor<3> {
        burn::tensor::module::embedding(self.weight.val(), rows)
    }
}
