//! Layers of the language model and of the action expert: the same kind, of different widths.

use crate::policy::nn::{Linear, RmsNorm};
use burn::module::Module;
use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Base of the rotary positions; LeRobot does not use the model's own.
const ROTARY_BASE: f64 = 10_000.0;

/// Sizes of attention that both parts share.
#[derive(Debug, Clone, Copy)]
pub struct HeadShape {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub key_heads: usize,
    /// Width of a head.
    pub width: usize,
}

/// Projections of a layer's attention, without biases.
#[derive(Module, Debug)]
pub struct Projections {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// A layer.
#[derive(Module, Debug)]
pub struct Layer {
    self_attn: Projections,
    mlp: Mlp,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    #[module(skip)]
    heads: HeadShape,
}

impl Layer {
    /// With random weights. `key_input` is the width keys and values are made from.
    pub fn new(
        width: usize,
        key_input: usize,
        feedforward: usize,
        heads: HeadShape,
        epsilon: f64,
        device: &Device,
    ) -> Self {
        let linear = |input, output| Linear::without_bias(input, output, device);
        let (all, keys) = (heads.heads * heads.width, heads.key_heads * heads.width);
        Self {
            self_attn: Projections {
                q_proj: linear(width, all),
                k_proj: linear(key_input, keys),
                v_proj: linear(key_input, keys),
                o_proj: linear(all, width),
            },
            mlp: Mlp {
                gate_proj: linear(width, feedforward),
                up_proj: linear(width, feedforward),
                down_proj: linear(feedforward, width),
            },
            input_layernorm: RmsNorm::new(width, epsilon, device),
            post_attention_layernorm: RmsNorm::new(width, epsilon, device),
            heads,
        }
    }

    /// Queries, keys and values of tokens `[batch, n, width]`, turned by their positions.
    pub fn attention_parts(&self, x: &Tensor<3>, rotation: &Rotation) -> (Tensor<4>, KeysValues) {
        let x = self.input_layernorm.forward(x.clone());
        let keys = rotation.apply(self.split(self.self_attn.k_proj.forward(x.clone())));
        let values = self.split(self.self_attn.v_proj.forward(x.clone()));
        (rotation.apply(self.split(self.self_attn.q_proj.forward(x))), KeysValues { keys, values })
    }

    /// Only the queries.
    pub fn queries(&self, x: &Tensor<3>, rotation: &Rotation) -> Tensor<4> {
        rotation.apply(self.split(self.self_attn.q_proj.forward(self.input_layernorm.forward(x.clone()))))
    }

    /// Keys and values made from another part's.
    pub fn translate(&self, other: &KeysValues) -> KeysValues {
        let join = |x: &Tensor<4>| {
            let [batch, heads, n, width] = x.dims();
            x.clone().swap_dims(1, 2).reshape([batch, n, heads * width])
        };
        KeysValues {
            keys: self.split(self.self_attn.k_proj.forward(join(&other.keys))),
            values: self.split(self.self_attn.v_proj.forward(join(&other.values))),
        }
    }

    /// The rest of the layer: attention's result is projected and carried, then the feed-forward part.
    pub fn finish(&self, x: Tensor<3>, attended: Tensor<3>) -> Tensor<3> {
        let x = x + self.self_attn.o_proj.forward(attended);
        let y = self.post_attention_layernorm.forward(x.clone());
        let y = silu(self.mlp.gate_proj.forward(y.clone())) * self.mlp.up_proj.forward(y);
        x + self.mlp.down_proj.forward(y)
    }

    /// `[batch, n, heads * width]` to `[batch, heads, n, width]`.
    fn split(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, n, width] = x.dims();
        x.reshape([batch, n, width / self.heads.width, self.heads.width]).swap_dims(1, 2)
    }
}

/// Keys and values of a sequence, `[batch, key heads, n, head width]`.
#[derive(Debug, Clone)]
pub struct KeysValues {
    /// Keys.
    pub keys: Tensor<4>,
    /// Values.
    pub values: Tensor<4>,
}

impl KeysValues {
    /// These, then `others`.
    pub fn followed_by(&self, others: KeysValues) -> Self {
        Self {
            keys: Tensor::cat(vec![self.keys.clone(), others.keys], 2),
            values: Tensor::cat(vec![self.values.clone(), others.values], 2),
        }
    }

    /// What queries `[batch, heads, n, head width]` find here: `[batch, n, heads * head width]`. `hidden`
    /// `[batch, 1, n, keys]` marks keys that a query may not see.
    pub fn attend(&self, queries: Tensor<4>, hidden: Tensor<4, Bool>) -> Tensor<3> {
        let [batch, heads, n, width] = queries.dims();
        let key_heads = self.keys.dims()[1];
        let length = self.keys.dims()[2];
        let shared = heads / key_heads;
        // Queries that share keys are stacked, so that keys are not repeated.
        let queries = queries.reshape([batch, key_heads, shared * n, width]);
        let scores = queries.matmul(self.keys.clone().transpose()).mul_scalar(1.0 / (width as f64).sqrt());
        let scores = scores.reshape([batch, heads, n, length]);
        let hidden = hidden.expand([batch, heads, n, length]);
        let weights = softmax(scores.mask_fill(hidden, f32::MIN), 3);
        let found = weights.reshape([batch, key_heads, shared * n, length]).matmul(self.values.clone());
        found.reshape([batch, heads, n, width]).swap_dims(1, 2).reshape([batch, n, heads * width])
    }
}

/// Rotary positions of a sequence.
#[derive(Debug, Clone)]
pub struct Rotation {
    cosine: Tensor<4>,
    sine: Tensor<4>,
}

impl Rotation {
    /// For the positions of each token of each row of a batch.
    pub fn new(positions: &[Vec<f64>], head_width: usize, device: &Device) -> Self {
        let half = head_width / 2;
        let length = positions.first().map_or(0, Vec::len);
        let angles: Vec<f64> = positions
            .iter()
            .flatten()
            .flat_map(|p| (0..half).map(move |j| p / ROTARY_BASE.powf(2.0 * j as f64 / head_width as f64)))
            .collect();
        let tensor = |f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&a| f(a) as f32).collect();
            Tensor::from_data(TensorData::new(values, [positions.len(), 1, length, half]), device)
        };
        Self { cosine: tensor(&f64::cos), sine: tensor(&f64::sin) }
    }

    /// Turns `[batch, heads, n, head width]`: the first half of a head against the second.
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let (cosine, sine) = (self.cosine.clone(), self.sine.clone());
        Tensor::cat(vec![a.clone() * cosine.clone() - b.clone() * sine.clone(), b * cosine + a * sine], 3)
    }
}
