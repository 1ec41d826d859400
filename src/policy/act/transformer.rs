//! Encoder and decoder. Position vectors are added to queries and keys, in every layer anew.

use super::config::Activation;
use crate::policy::nn::{LayerNorm, Linear, MultiHeadAttention};
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::{Bool, Device, Tensor};

/// Shape of a transformer's layers.
#[derive(Debug, Clone, Copy)]
pub struct LayerShape {
    /// Width of a token.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub feedforward: usize,
    /// Share of values dropped while training.
    pub dropout: f64,
    /// Whether norms come before attention and feed-forward instead of after.
    pub pre_norm: bool,
    /// Function inside the feed-forward part.
    pub activation: Activation,
}

fn norm(shape: &LayerShape, device: &Device) -> LayerNorm {
    LayerNorm::new(shape.width, 1e-5, device)
}

/// The two linear layers of a transformer layer, under the names they have beside its other parts.
fn feedforward(x: Tensor<3>, first: &Linear, second: &Linear, dropout: &Dropout, gelu_inside: bool) -> Tensor<3> {
    let x = first.forward(x);
    let x = if gelu_inside { gelu(x) } else { relu(x) };
    dropout.forward(second.forward(dropout.forward(x)))
}

/// Attention of the tokens to each other, then the feed-forward part.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    self_attn: MultiHeadAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
    pre_norm: bool,
    gelu: bool,
}

impl EncoderLayer {
    fn new(shape: &LayerShape, device: &Device) -> Self {
        Self {
            self_attn: MultiHeadAttention::new(shape.width, shape.heads, shape.dropout, device),
            linear1: Linear::xavier(shape.width, shape.feedforward, device),
            linear2: Linear::xavier(shape.feedforward, shape.width, device),
            norm1: norm(shape, device),
            norm2: norm(shape, device),
            dropout: DropoutConfig::new(shape.dropout).init(),
            pre_norm: shape.pre_norm,
            gelu: shape.activation == Activation::Gelu,
        }
    }

    fn forward(&self, x: Tensor<3>, position: Tensor<3>, ignored: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let attend = |x| self.dropout.forward(self.self_attn.to_itself(x, Some(position), ignored));
        let feed = |x| feedforward(x, &self.linear1, &self.linear2, &self.dropout, self.gelu);
        if self.pre_norm {
            let x = x.clone() + attend(self.norm1.forward(x));
            x.clone() + feed(self.norm2.forward(x))
        } else {
            let x = self.norm1.forward(x.clone() + attend(x));
            self.norm2.forward(x.clone() + feed(x))
        }
    }
}

/// Encoder layers in a row, with a last norm when norms come first.
#[derive(Module, Debug)]
pub struct Encoder {
    layers: Vec<EncoderLayer>,
    norm: Option<LayerNorm>,
}

impl Encoder {
    /// With Xavier's initial values.
    pub fn new(layers: usize, shape: &LayerShape, device: &Device) -> Self {
        Self {
            layers: (0..layers).map(|_| EncoderLayer::new(shape, device)).collect(),
            norm: shape.pre_norm.then(|| norm(shape, device)),
        }
    }

    /// `[batch, n, width]` with positions `[1 or batch, n, width]`; `ignored` marks tokens nobody may look at.
    pub fn forward(&self, x: Tensor<3>, position: Tensor<3>, ignored: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x, position.clone(), ignored.clone()));
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

/// Attention of the queries to each other, to the encoder's tokens, then the feed-forward part.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    self_attn: MultiHeadAttention,
    multihead_attn: MultiHeadAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
    dropout: Dropout,
    pre_norm: bool,
    gelu: bool,
}

impl DecoderLayer {
    fn new(shape: &LayerShape, device: &Device) -> Self {
        Self {
            self_attn: MultiHeadAttention::new(shape.width, shape.heads, shape.dropout, device),
            multihead_attn: MultiHeadAttention::new(shape.width, shape.heads, shape.dropout, device),
            linear1: Linear::xavier(shape.width, shape.feedforward, device),
            linear2: Linear::xavier(shape.feedforward, shape.width, device),
            norm1: norm(shape, device),
            norm2: norm(shape, device),
            norm3: norm(shape, device),
            dropout: DropoutConfig::new(shape.dropout).init(),
            pre_norm: shape.pre_norm,
            gelu: shape.activation == Activation::Gelu,
        }
    }

    fn forward(&self, x: Tensor<3>, memory: &Memory, position: Tensor<3>) -> Tensor<3> {
        let among = |x| self.dropout.forward(self.self_attn.to_itself(x, Some(position.clone()), None));
        let across = |x: Tensor<3>| {
            let y = self.multihead_attn.to_other(x + position.clone(), memory.keys.clone(), memory.values.clone());
            self.dropout.forward(y)
        };
        let feed = |x| feedforward(x, &self.linear1, &self.linear2, &self.dropout, self.gelu);
        if self.pre_norm {
            let x = x.clone() + among(self.norm1.forward(x));
            let x = x.clone() + across(self.norm2.forward(x));
            x.clone() + feed(self.norm3.forward(x))
        } else {
            let x = self.norm1.forward(x.clone() + among(x));
            let x = self.norm2.forward(x.clone() + across(x));
            self.norm3.forward(x.clone() + feed(x))
        }
    }
}

/// What the decoder looks at.
struct Memory {
    keys: Tensor<3>,
    values: Tensor<3>,
}

/// Decoder layers in a row and a norm.
#[derive(Module, Debug)]
pub struct Decoder {
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
}

impl Decoder {
    /// With Xavier's initial values.
    pub fn new(layers: usize, shape: &LayerShape, device: &Device) -> Self {
        Self { layers: (0..layers).map(|_| DecoderLayer::new(shape, device)).collect(), norm: norm(shape, device) }
    }

    /// Zero queries at `queries` `[batch, chunk, width]` look at `memory` whose positions are `memory_position`.
    pub fn forward(&self, memory: Tensor<3>, memory_position: Tensor<3>, queries: Tensor<3>) -> Tensor<3> {
        let memory = Memory { keys: memory.clone() + memory_position, values: memory };
        let x = queries.zeros_like();
        self.norm.forward(self.layers.iter().fold(x, |x, layer| layer.forward(x, &memory, queries.clone())))
    }
}
