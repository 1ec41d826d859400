//! The policy: prefix of pictures, words and joint positions; suffix of actions.

use super::config::{SmolVlaConfig, VlmShape};
use super::expert::{HeadShape, KeysValues, Layer, Rotation};
use super::picture::resize_with_padding;
use super::siglip::{Connector, VisionModel};
use crate::policy::checkpoint::{ConfigProblem, Features};
use crate::policy::nn::{Embedding, Linear, RmsNorm};
use burn::module::Module;
use burn::tensor::activation::silu;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// What SmolVLA sees, for a batch of moments.
#[derive(Debug, Clone)]
pub struct SmolVlaInput {
    /// Pictures `[batch, 3, height, width]` of 0 to 1, not normalised, in the order of the configuration.
    pub images: Vec<Tensor<4>>,
    /// Token numbers of each task text, all rows of one length.
    pub tokens: Vec<Vec<u32>>,
    /// Which of them are words; the others fill up.
    pub is_word: Vec<Vec<bool>>,
    /// Normalised joint positions, `[batch, state]`.
    pub state: Tensor<2>,
}

#[derive(Module, Debug)]
struct TextModel {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
struct VlmParts {
    vision_model: VisionModel,
    connector: Connector,
    text_model: TextModel,
}

#[derive(Module, Debug)]
struct Vlm {
    model: VlmParts,
}

#[derive(Module, Debug)]
struct Expert {
    layers: Vec<Layer>,
    norm: RmsNorm,
}

#[derive(Module, Debug)]
struct VlmWithExpert {
    vlm: Vlm,
    lm_expert: Expert,
}

/// The network. Field names are LeRobot's tensor names behind `model.`.
#[derive(Module, Debug)]
pub struct SmolVla {
    vlm_with_expert: VlmWithExpert,
    state_proj: Linear,
    action_in_proj: Linear,
    action_out_proj: Linear,
    action_time_mlp_in: Linear,
    action_time_mlp_out: Linear,
    #[module(skip)]
    config: SmolVlaConfig,
    #[module(skip)]
    shape: VlmShape,
    action: usize,
}

/// What the expert looks at: the prefix's keys and values, already in the form each layer of the expert wants.
#[derive(Debug, Clone)]
pub struct Prefix {
    layers: Vec<KeysValues>,
    is_token: Vec<Vec<bool>>,
}

/// Width of the feed-forward part of an expert: 8/3 of its width, filled up to a multiple of 256.
fn expert_feedforward(width: usize) -> usize {
    (4 * (2 * width / 3)).next_multiple_of(256)
}

impl SmolVla {
    /// Tensors of a checkpoint without a part in inference.
    pub fn is_unused(name: &str) -> bool {
        name.ends_with("vlm.lm_head.weight") || name.ends_with("text_model.norm.weight")
    }

    /// With random weights.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the features.
    pub fn new(
        config: &SmolVlaConfig,
        shape: &VlmShape,
        features: &Features,
        device: &Device,
    ) -> Result<Self, ConfigProblem> {
        config.check(features)?;
        let heads = HeadShape { heads: shape.heads, key_heads: shape.key_heads, width: shape.head_width };
        let width = (shape.width as f64 * config.expert_width_multiplier) as usize;
        let epsilon = shape.norm_epsilon;
        let text_layer = |_| Layer::new(shape.width, shape.width, shape.feedforward, heads, epsilon, device);
        let expert_layer = |i: usize| {
            let is_joint = i.is_multiple_of(config.self_attn_every_n_layers);
            let key_input = if is_joint { width } else { shape.key_heads * shape.head_width };
            Layer::new(width, key_input, expert_feedforward(width), heads, epsilon, device)
        };
        let linear = |input, output| Linear::new(input, output, device);
        let model = VlmParts {
            vision_model: VisionModel::new(shape, device),
            connector: Connector::new(shape, device),
            text_model: TextModel {
                embed_tokens: Embedding::new(shape.vocabulary, shape.width, device),
                layers: (0..config.num_vlm_layers).map(text_layer).collect(),
            },
        };
        let lm_expert = Expert {
            layers: (0..config.num_vlm_layers).map(expert_layer).collect(),
            norm: RmsNorm::new(width, epsilon, device),
        };
        Ok(Self {
            vlm_with_expert: VlmWithExpert { vlm: Vlm { model }, lm_expert },
            state_proj: linear(config.max_state_dim, shape.width),
            action_in_proj: linear(config.max_action_dim, width),
            action_out_proj: linear(width, config.max_action_dim),
            action_time_mlp_in: linear(2 * width, width),
            action_time_mlp_out: linear(width, width),
            config: config.clone(),
            shape: shape.clone(),
            action: features.action_width()?,
        })
    }

    /// Vectors of the prefix's tokens `[batch, n, width]`, and which of them count.
    pub fn embed(&self, input: SmolVlaInput) -> (Tensor<3>, Vec<Vec<bool>>) {
        let vlm = &self.vlm_with_expert.vlm.model;
        let scale = (self.shape.width as f64).sqrt();
        let [batch, width] = input.state.dims();
        let device = input.state.device();
        let mut tokens = Vec::new();
        for image in input.images {
            let image = match self.config.resize_imgs_with_padding {
                Some(size) => resize_with_padding(image, size),
                None => image,
            };
            let patches = vlm.vision_model.forward(image.mul_scalar(2.0) - 1.0);
            tokens.push(vlm.connector.forward(patches).mul_scalar(scale));
        }
        let seen: usize = tokens.iter().map(|t| t.dims()[1]).sum();
        let length = input.tokens.first().map_or(0, Vec::len);
        if length > 0 {
            let numbers: Vec<i64> = input.tokens.iter().flatten().map(|&t| i64::from(t)).collect();
            let numbers = Tensor::<2, Int>::from_data(TensorData::new(numbers, [batch, length]), &device);
            tokens.push(vlm.text_model.embed_tokens.forward(numbers).mul_scalar(scale));
        }
        let missing = self.config.max_state_dim - width;
        let state = if missing > 0 {
            Tensor::cat(vec![input.state, Tensor::zeros([batch, missing], &device)], 1)
        } else {
            input.state
        };
        tokens.push(self.state_proj.forward(state).unsqueeze_dim(1));
        let is_token = |row: &Vec<bool>| {
            let pictures = std::iter::repeat_n(true, seen);
            pictures.chain(row.iter().copied()).chain([true]).collect()
        };
        (Tensor::cat(tokens, 1), input.is_word.iter().map(is_token).collect())
    }

    /// Reads the prefix once for all steps of drawing.
    pub fn read(&self, input: SmolVlaInput) -> Prefix {
        let (mut x, is_token) = self.embed(input);
        let device = x.device();
        let length = x.dims()[1];
        let positions: Vec<Vec<f64>> = is_token.iter().map(|row| running_count(row)).collect();
        let rotation = Rotation::new(&positions, self.shape.head_width, &device);
        // Everybody sees pictures and words; only the joint positions, the last token, see themselves.
        let hidden = hidden(&is_token, length, &device, |row, query, key| {
            !(row[query] && row[key]) || (key + 1 == length && query != key)
        });
        let text = &self.vlm_with_expert.vlm.model.text_model.layers;
        let expert = &self.vlm_with_expert.lm_expert.layers;
        let mut layers = Vec::new();
        for (i, (layer, expert)) in text.iter().zip(expert).enumerate() {
            let (queries, own) = layer.attention_parts(&x, &rotation);
            let is_joint = i.is_multiple_of(self.config.self_attn_every_n_layers);
            layers.push(if is_joint { own.clone() } else { expert.translate(&own) });
            if i + 1 < text.len() {
                x = layer.finish(x, own.attend(queries, hidden.clone()));
            }
        }
        Prefix { layers, is_token }
    }

    /// The flow at noisy actions `[batch, chunk, max_action_dim]` and times from 1 (noise) to 0, one for each row.
    pub fn flow(&self, prefix: &Prefix, actions: Tensor<3>, times: &[f64]) -> Tensor<3> {
        let device = actions.device();
        let [batch, chunk, _] = actions.dims();
        let x = self.action_in_proj.forward(actions);
        let width = x.dims()[2];
        let time = self.time_vectors(times, width, &device).expand([batch, chunk, width]);
        let x = silu(self.action_time_mlp_in.forward(Tensor::cat(vec![x, time], 2)));
        let mut x = self.action_time_mlp_out.forward(x);
        let from = |start: f64| (0..chunk).map(|i| start + i as f64).collect::<Vec<f64>>();
        let alone: Vec<Vec<f64>> = prefix.is_token.iter().map(|_| from(0.0)).collect();
        let behind: Vec<Vec<f64>> =
            prefix.is_token.iter().map(|row| from(row.iter().filter(|t| **t).count() as f64)).collect();
        let head = self.shape.head_width;
        let (alone, behind) = (Rotation::new(&alone, head, &device), Rotation::new(&behind, head, &device));
        let hidden_prefix = hidden(&prefix.is_token, chunk, &device, |row, _, key| !row[key]);
        let rows = vec![vec![true; chunk]; batch];
        let hidden_later = hidden(&rows, chunk, &device, |_, query, key| key > query);
        let hidden_joint = Tensor::cat(vec![hidden_prefix.clone(), hidden_later], 3);
        let expert = &self.vlm_with_expert.lm_expert;
        for (i, (layer, seen)) in expert.layers.iter().zip(&prefix.layers).enumerate() {
            let attended = if i.is_multiple_of(self.config.self_attn_every_n_layers) {
                let (queries, own) = layer.attention_parts(&x, &behind);
                seen.followed_by(own).attend(queries, hidden_joint.clone())
            } else {
                seen.attend(layer.queries(&x, &alone), hidden_prefix.clone())
            };
            x = layer.finish(x, attended);
        }
        self.action_out_proj.forward(expert.norm.forward(x))
    }

    /// The chunk for each moment, normalised, `[batch, chunk, action]`, drawn out of `noise`
    /// `[batch, chunk, max_action_dim]`.
    pub fn predict(&self, input: SmolVlaInput, noise: Tensor<3>) -> Tensor<3> {
        let prefix = self.read(input);
        let batch = noise.dims()[0];
        let steps = self.config.num_steps;
        let mut x = noise;
        for step in 0..steps {
            let time = 1.0 - step as f64 / steps as f64;
            let flow = self.flow(&prefix, x.clone(), &vec![time; batch]);
            x = x - flow.div_scalar(steps as f64);
        }
        x.narrow(2, 0, self.action)
    }

    /// Sines, then cosines of each time: `[batch, 1, width]`.
    fn time_vectors(&self, times: &[f64], width: usize, device: &Device) -> Tensor<3> {
        let half = width / 2;
        let (shortest, longest) = (self.config.min_period, self.config.max_period);
        let angle = |time: f64, j: usize| {
            let share = if half > 1 { j as f64 / (half - 1) as f64 } else { 0.0 };
            time * std::f64::consts::TAU / (shortest * (longest / shortest).powf(share))
        };
        let mut values = Vec::with_capacity(times.len() * width);
        for &time in times {
            values.extend((0..half).map(|j| angle(time, j).sin() as f32));
            values.extend((0..half).map(|j| angle(time, j).cos() as f32));
        }
        Tensor::from_data(TensorData::new(values, [times.len(), 1, 2 * half]), device)
    }
}

/// For each token how many that count came before it; what does not count stays where the last one is.
fn running_count(row: &[bool]) -> Vec<f64> {
    row.iter()
        .scan(-1.0, |count, &is_token| {
            *count += f64::from(u8::from(is_token));
            Some(*count)
        })
        .collect()
}

/// The mask `[batch, 1, queries, keys]` of what may not be seen.
fn hidden(
    rows: &[Vec<bool>],
    queries: usize,
    device: &Device,
    is_hidden: impl Fn(&[bool], usize, usize) -> bool,
) -> Tensor<4, Bool> {
    let keys = rows.first().map_or(0, Vec::len);
    let mut mask = Vec::with_capacity(rows.len() * queries * keys);
    for row in rows {
        mask.extend((0..queries).flat_map(|q| (0..keys).map(move |k| (q, k))).map(|(q, k)| is_hidden(row, q, k)));
    }
    Tensor::from_data(TensorData::new(mask, [rows.len(), 1, queries, keys]), device)
}
