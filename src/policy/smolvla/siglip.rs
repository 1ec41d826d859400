//! SigLIP, the part that reads pictures, and the connector to the words' space.

use super::config::VlmShape;
use crate::policy::nn::{Conv2d, Embedding, LayerNorm, Linear};
use burn::module::Module;
use burn::tensor::activation::gelu_approximate;
use burn::tensor::module::attention;
use burn::tensor::{Device, Tensor};

const NORM_EPSILON: f64 = 1e-6;

#[derive(Module, Debug)]
struct Embeddings {
    patch_embedding: Conv2d,
    position_embedding: Embedding,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, n, width] = x.dims();
        let split = |x: Tensor<3>| x.reshape([batch, n, self.heads, width / self.heads]).swap_dims(1, 2);
        let [q, k, v] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|p| split(p.forward(x.clone())));
        let y = attention(q, k, v, None, None, Default::default());
        self.out_proj.forward(y.swap_dims(1, 2).reshape([batch, n, width]))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
struct Layer {
    self_attn: Attention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
}

#[derive(Module, Debug)]
struct Layers {
    layers: Vec<Layer>,
}

/// Pictures to patches that know of each other.
#[derive(Module, Debug)]
pub struct VisionModel {
    embeddings: Embeddings,
    encoder: Layers,
    post_layernorm: LayerNorm,
}

impl VisionModel {
    /// With random weights.
    pub fn new(shape: &VlmShape, device: &Device) -> Self {
        let width = shape.vision_width;
        let linear = |input, output| Linear::new(input, output, device);
        let norm = || LayerNorm::new(width, NORM_EPSILON, device);
        let layer = || Layer {
            self_attn: Attention {
                q_proj: linear(width, width),
                k_proj: linear(width, width),
                v_proj: linear(width, width),
                out_proj: linear(width, width),
                heads: shape.vision_heads,
            },
            layer_norm1: norm(),
            mlp: Mlp { fc1: linear(width, shape.vision_feedforward), fc2: linear(shape.vision_feedforward, width) },
            layer_norm2: norm(),
        };
        let patches = (shape.image_size / shape.patch_size).pow(2);
        Self {
            embeddings: Embeddings {
                patch_embedding: Conv2d::new(3, width, shape.patch_size, shape.patch_size, 0, device),
                position_embedding: Embedding::new(patches, width, device),
            },
            encoder: Layers { layers: (0..shape.vision_layers).map(|_| layer()).collect() },
            post_layernorm: norm(),
        }
    }

    /// `[batch, 3, size, size]` of -1 to 1 to `[batch, patches, width]`.
    pub fn forward(&self, image: Tensor<4>) -> Tensor<3> {
        let x = self.embeddings.patch_embedding.forward(image);
        let x: Tensor<3> = x.flatten(2, 3).swap_dims(1, 2);
        let mut x = x + self.embeddings.position_embedding.weight.val().unsqueeze::<3>();
        for layer in &self.encoder.layers {
            x = x.clone() + layer.self_attn.forward(layer.layer_norm1.forward(x));
            let y = gelu_approximate(layer.mlp.fc1.forward(layer.layer_norm2.forward(x.clone())));
            x = x + layer.mlp.fc2.forward(y);
        }
        self.post_layernorm.forward(x)
    }
}

#[derive(Module, Debug)]
struct Projection {
    proj: Linear,
}

/// Squares of patches to tokens among the words.
#[derive(Module, Debug)]
pub struct Connector {
    modality_projection: Projection,
    scale_factor: usize,
}

impl Connector {
    /// With random weights.
    pub fn new(shape: &VlmShape, device: &Device) -> Self {
        let input = shape.vision_width * shape.scale_factor * shape.scale_factor;
        let proj = Linear::without_bias(input, shape.width, device);
        Self { modality_projection: Projection { proj }, scale_factor: shape.scale_factor }
    }

    /// `[batch, patches, vision width]` to `[batch, patches / scale², width]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, patches, width] = x.dims();
        let s = self.scale_factor;
        let side = patches.isqrt();
        let blocks = side / s;
        let x = x.reshape([batch, blocks, s, blocks, s, width]).permute([0, 1, 3, 2, 4, 5]);
        self.modality_projection.proj.forward(x.reshape([batch, blocks * blocks, s * s * width]))
    }
}
