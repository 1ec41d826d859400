//! Multi-head attention with PyTorch's packed projection.

use super::layers::affine;
use super::{Linear, constant, uniform, xavier_bound};
use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::softmax;
use burn::tensor::module::attention;
use burn::tensor::{Bool, Device, Tensor};

/// `torch.nn.MultiheadAttention`, batch first.
#[derive(Module, Debug)]
pub struct MultiHeadAttention {
    /// Projections of queries, keys and values, one above the other: `[3 width, width]`.
    pub in_proj_weight: Param<Tensor<2>>,
    /// Their biases, `[3 width]`.
    pub in_proj_bias: Param<Tensor<1>>,
    /// Projection of the heads' results.
    pub out_proj: Linear,
    dropout: Dropout,
    heads: usize,
}

impl MultiHeadAttention {
    /// `heads` has to divide `width`; `dropout` acts on the attention weights while training.
    pub fn new(width: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        let mut out_proj = Linear::xavier(width, width, device);
        out_proj.bias = Some(constant([width], 0.0, device));
        Self {
            in_proj_weight: uniform([3 * width, width], xavier_bound(3 * width, width), device),
            in_proj_bias: constant([3 * width], 0.0, device),
            out_proj,
            dropout: DropoutConfig::new(dropout).init(),
            heads,
        }
    }

    /// Rows `first..first + count` of the packed projection, in units of the width.
    fn project(&self, x: Tensor<3>, first: usize, count: usize) -> Tensor<3> {
        let width = x.dims()[2];
        let weight = self.in_proj_weight.val().narrow(0, first * width, count * width);
        let bias = self.in_proj_bias.val().narrow(0, first * width, count * width);
        affine(x, weight, Some(bias))
    }

    /// Attention of a sequence to itself: queries and keys from `x + position`, values from `x`. `ignored` marks keys
    /// that nobody may look at, `[batch, length]`.
    pub fn to_itself(&self, x: Tensor<3>, position: Option<Tensor<3>>, ignored: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let width = x.dims()[2];
        let (queries_keys, values) = match position {
            Some(position) => (self.project(x.clone() + position, 0, 2), self.project(x, 2, 1)),
            None => {
                let all = self.project(x, 0, 3);
                (all.clone().narrow(2, 0, 2 * width), all.narrow(2, 2 * width, width))
            }
        };
        let (queries, keys) = (queries_keys.clone().narrow(2, 0, width), queries_keys.narrow(2, width, width));
        self.attend(queries, keys, values, ignored)
    }

    /// Attention to another sequence.
    pub fn to_other(&self, queries: Tensor<3>, keys: Tensor<3>, values: Tensor<3>) -> Tensor<3> {
        let (queries, keys, values) =
            (self.project(queries, 0, 1), self.project(keys, 1, 1), self.project(values, 2, 1));
        self.attend(queries, keys, values, None)
    }

    fn attend(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        values: Tensor<3>,
        ignored: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let [batch, n_queries, width] = queries.dims();
        let n_keys = keys.dims()[1];
        let head_width = width / self.heads;
        let split = |t: Tensor<3>, n: usize| t.reshape([batch, n, self.heads, head_width]).swap_dims(1, 2);
        let (queries, keys, values) = (split(queries, n_queries), split(keys, n_keys), split(values, n_keys));
        let ignored =
            ignored.map(|mask| mask.reshape([batch, 1, 1, n_keys]).expand([batch, self.heads, n_queries, n_keys]));
        let y = if queries.is_autodiff() {
            let scores = queries.mul_scalar(1.0 / (head_width as f64).sqrt()).matmul(keys.transpose());
            let scores = match ignored {
                Some(mask) => scores.mask_fill(mask, f32::NEG_INFINITY),
                None => scores,
            };
            self.dropout.forward(softmax(scores, 3)).matmul(values)
        } else {
            attention(queries, keys, values, ignored, None, Default::default())
        };
        self.out_proj.forward(y.swap_dims(1, 2).reshape([batch, n_queries, width]))
    }
}
