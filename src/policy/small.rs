//! The small policy: a few convolutions a camera, whose last map is flattened instead of pooled, so that places keep their
//! precision; joints beside them; a chunk of targets relative to the present joints. It has no memory. Where the data hold
//! different task texts it reads them. From docs/train.md's recipe, in two sizes.

use super::learner::{Batch, Learner, Loss};
use super::sentence::Vocabulary;
use super::stack::{Stack, StackLayer};
use super::stack_op::conv_stack;
use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Normalised targets are held inside this when they are learnt: a rare jump shall not rule a batch.
const LARGEST_TARGET: f32 = 6.0;
/// Width of the joints' own layer.
const JOINT_WIDTH: usize = 128;
/// Numbers that a sentence becomes.
const SENTENCE_WIDTH: usize = 64;
/// Kernel, stride, padding of the four convolutions, and whether what goes in is added to what comes out.
const CONVOLUTIONS: [(usize, usize, usize, bool); 4] =
    [(6, 3, 2, false), (4, 2, 1, false), (3, 1, 1, true), (3, 2, 1, false)];

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmallSize {
    /// Output channels of the four convolutions; the second and third are the same.
    pub channels: (usize, usize, usize, usize),
    /// Numbers a camera's picture becomes.
    pub embedding: usize,
    /// Width of the trunk.
    pub hidden: usize,
}

/// What a network is built for: everything that decides the shapes of its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallShape {
    /// Sizes of the network.
    pub size: SmallSize,
    /// Height and width of each camera's pictures, pixels.
    pub pictures: Vec<(usize, usize)>,
    /// Joints.
    pub joints: usize,
    /// Targets in a chunk.
    pub chunk: usize,
    /// Labels the pictures shall explain, 0 for none.
    pub labels: usize,
    /// Phases among which one is the present one, 0 for none.
    pub phases: usize,
    /// Words of the sentences it reads, if it reads any.
    #[serde(default)]
    pub sentences: Option<Vocabulary>,
}

/// Numbers that normalise what goes in and out, in the dataset's units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SmallScales {
    /// Mean of each joint.
    pub state_mean: Vec<f32>,
    /// Standard deviation of each joint.
    pub state_std: Vec<f32>,
    /// Size of the relative targets, [chunk * joints].
    pub target: Vec<f32>,
    /// Mean of each label.
    pub label_mean: Vec<f32>,
    /// Standard deviation of each label.
    pub label_std: Vec<f32>,
}

/// Weight and bias of a convolution.
#[derive(Module, Debug)]
struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

/// A camera's part.
#[derive(Module, Debug)]
struct Eye {
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    conv4: Conv,
    flat: Linear,
}

/// Makes numbers of a sentence, and decides what the eyes look for: a gain and an offset for each channel of their last
/// map, where places still are.
#[derive(Module, Debug)]
struct Reader {
    words: Linear,
    looks_for: Vec<Linear>,
}

/// The network.
#[derive(Module, Debug)]
pub struct SmallNet {
    eyes: Vec<Eye>,
    reader: Option<Reader>,
    norm: LayerNorm,
    joints: Linear,
    explain1: Linear,
    explain2: Linear,
    explained: Linear,
    trunk1: Linear,
    trunk2: Linear,
    head1: Linear,
    head2: Linear,
    #[module(skip)]
    shape: SmallShape,
    #[module(skip)]
    scales: SmallScales,
}

/// Weights uniform within 1/sqrt(inputs), as PyTorch fills linear layers and convolutions.
struct Filler {
    random: ChaCha8Rng,
    device: Device,
}

impl Filler {
    fn fill<const D: usize>(&mut self, shape: [usize; D], inputs: usize) -> Param<Tensor<D>> {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.random.random_range(-bound..bound)).collect();
        Param::from_data(TensorData::new(values, shape), &self.device)
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        let (weight, bias) = (self.fill([inputs, outputs], inputs), Some(self.fill([outputs], inputs)));
        Linear { weight, bias }
    }

    fn conv(&mut self, inputs: usize, outputs: usize, kernel: usize) -> Conv {
        let fan = inputs * kernel * kernel;
        Conv { weight: self.fill([outputs, inputs, kernel, kernel], fan), bias: self.fill([outputs], fan) }
    }
}

/// Height or width after all four convolutions.
fn shrunk(side: usize) -> usize {
    CONVOLUTIONS
        .iter()
        .fold(side, |side, (kernel, stride, padding, _)| (side + 2 * padding).saturating_sub(*kernel) / stride + 1)
}

impl SmallNet {
    /// A network with random weights that depend on `seed` alone.
    pub fn new(shape: SmallShape, scales: SmallScales, seed: u64, device: &Device) -> Self {
        let mut filler = Filler { random: ChaCha8Rng::seed_from_u64(seed), device: device.clone() };
        let SmallSize { channels: (c1, c2, c3, c4), embedding, hidden } = shape.size.clone();
        let eye = |(height, width): &(usize, usize), filler: &mut Filler| Eye {
            conv1: filler.conv(3, c1, CONVOLUTIONS[0].0),
            conv2: filler.conv(c1, c2, CONVOLUTIONS[1].0),
            conv3: filler.conv(c2, c3, CONVOLUTIONS[2].0),
            conv4: filler.conv(c3, c4, CONVOLUTIONS[3].0),
            flat: filler.linear(c4 * shrunk(*height) * shrunk(*width), embedding),
        };
        let eyes: Vec<Eye> = shape.pictures.iter().map(|size| eye(size, &mut filler)).collect();
        let seen = embedding * eyes.len();
        let reader = shape.sentences.as_ref().map(|vocabulary| Reader {
            words: filler.linear(vocabulary.width(), SENTENCE_WIDTH),
            looks_for: eyes.iter().map(|_| filler.linear(SENTENCE_WIDTH, 2 * c4)).collect(),
        });
        let read = if reader.is_some() { SENTENCE_WIDTH } else { 0 };
        let (input, explained) = (seen + JOINT_WIDTH + read, shape.labels + shape.phases);
        Self {
            eyes,
            reader,
            norm: LayerNormConfig::new(seen.max(1)).init(device),
            joints: filler.linear(2 * shape.joints, JOINT_WIDTH),
            explain1: filler.linear(input, 256),
            explain2: filler.linear(256, explained.max(1)),
            explained: filler.linear(explained.max(1), hidden),
            trunk1: filler.linear(input, hidden),
            trunk2: filler.linear(hidden, hidden),
            head1: filler.linear(hidden, hidden),
            head2: filler.linear(hidden, shape.chunk * shape.joints),
            shape,
            scales,
        }
    }

    /// What it was built for.
    pub fn shape(&self) -> &SmallShape {
        &self.shape
    }

    /// What it normalises with.
    pub fn scales(&self) -> &SmallScales {
        &self.scales
    }

    fn row(&self, values: &[f32], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), device)
    }

    /// Task texts as [`Self::forward`] wants them, [batch, words]; `None` for a network that does not read.
    pub fn encode<'a>(&self, texts: impl Iterator<Item = &'a str>, device: &Device) -> Option<Tensor<2>> {
        let vocabulary = self.shape.sentences.as_ref()?;
        let mut numbers = Vec::new();
        texts.for_each(|text| vocabulary.encode(text, &mut numbers));
        let count = numbers.len() / vocabulary.width().max(1);
        Some(Tensor::from_data(TensorData::new(numbers, [count, vocabulary.width()]), device))
    }

    /// `pictures`: for each camera [batch, 3, height, width], 0 to 1; `state` [batch, joints] in the dataset's units;
    /// `texts` from [`Self::encode`]. The relative chunk, normalised, [batch, chunk * joints], and what explains the
    /// pictures, [batch, labels + phases], if the network was built for any.
    pub fn forward(
        &self,
        pictures: &[Tensor<4>],
        state: Tensor<2>,
        texts: Option<Tensor<2>>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let device = state.device();
        let scales = &self.scales;
        let state = (state - self.row(&scales.state_mean, &device)) / self.row(&scales.state_std, &device);
        let joints = Tensor::cat(vec![state.clone(), state.mul_scalar(2.0).sin()], 1);
        let joints = relu(self.joints.forward(joints));
        let read = self.reader.as_ref().zip(texts).map(|(reader, texts)| (reader, relu(reader.words.forward(texts))));
        let mut parts = Vec::new();
        if !self.eyes.is_empty() {
            let looks_for = |number: usize| {
                read.as_ref().and_then(|(reader, read)| Some(reader.looks_for.get(number)?.forward(read.clone())))
            };
            let see =
                |(number, (eye, picture)): (usize, (&Eye, &Tensor<4>))| eye.forward(picture.clone(), looks_for(number));
            let seen = self.eyes.iter().zip(pictures).enumerate().filter_map(see).collect();
            parts.push(relu(self.norm.forward(Tensor::cat(seen, 1))));
        }
        parts.push(joints);
        parts.extend(read.map(|(_, read)| read));
        let input = Tensor::cat(parts, 1);
        let mut trunk = relu(self.trunk2.forward(relu(self.trunk1.forward(input.clone()))));
        let explained = (self.shape.labels + self.shape.phases > 0)
            .then(|| self.explain2.forward(relu(self.explain1.forward(input))));
        if let Some(explained) = &explained {
            trunk = trunk + self.explained.forward(explained.clone());
        }
        (self.head2.forward(relu(self.head1.forward(relu(trunk)))), explained)
    }

    /// Absolute targets in the dataset's units, [batch, chunk * joints].
    pub fn targets(&self, pictures: &[Tensor<4>], state: Tensor<2>, texts: Option<Tensor<2>>) -> Tensor<2> {
        let (relative, _) = self.forward(pictures, state.clone(), texts);
        let scale = self.row(&self.scales.target, &relative.device());
        relative * scale + state.repeat_dim(1, self.shape.chunk)
    }
}

impl Eye {
    /// [batch, 3, height, width] to [batch, embedding]; `looks_for` [batch, 2 * channels]: gains less one, then offsets.
    fn forward(&self, picture: Tensor<4>, looks_for: Option<Tensor<2>>) -> Option<Tensor<2>> {
        let convs = [&self.conv1, &self.conv2, &self.conv3, &self.conv4];
        let [batch, channels, height, width] = picture.dims();
        let layers = convs.iter().zip(CONVOLUTIONS).map(|(conv, (kernel, stride, padding, residual))| {
            let out = conv.bias.dims()[0];
            StackLayer { out, kernel, stride, padding, residual }
        });
        let stack = Stack::new(channels, (height, width), 0.5, &layers.collect::<Vec<_>>())?;
        let parameters = convs.iter().flat_map(|conv| [conv.weight.val().flatten(0, 3), conv.bias.val()]);
        let mut x = conv_stack(picture, Tensor::cat(parameters.collect(), 0), &stack);
        if let Some(looks_for) = looks_for {
            let (channels, height, width) = stack.output();
            let part = |at: usize| looks_for.clone().narrow(1, at, channels).reshape([batch, channels, 1]);
            let map = x.reshape([batch, channels, height * width]);
            x = relu(map * (part(0) + 1.0) + part(channels)).flatten(1, 2);
        }
        Some(self.flat.forward(x))
    }
}

impl Learner for SmallNet {
    fn loss(&self, batch: &Batch) -> Loss {
        let [count, _, joints] = batch.state.dims();
        let device = batch.state.device();
        let state = batch.state.clone().reshape([count, joints]);
        let texts = self.encode(batch.tasks.iter().map(String::as_str), &device);
        let (relative, explained) = self.forward(&batch.pictures, state.clone(), texts);
        let chunk = self.shape.chunk;
        let wanted = batch.action.clone().reshape([count, chunk * joints]) - state.repeat_dim(1, chunk);
        let wanted = (wanted / self.row(&self.scales.target, &device)).clamp(-LARGEST_TARGET, LARGEST_TARGET);
        // Rows beyond the end of an episode repeat its last target: to stay there is right.
        let actions = (relative - wanted).abs().mean();
        let mut loss = Loss { total: actions.clone(), parts: vec![("actions", actions)] };
        let (Some(explained), Some(labels)) = (explained, &batch.labels) else { return loss };
        let (count_labels, phases) = (self.shape.labels, self.shape.phases);
        if count_labels > 0 {
            let wanted = (labels.clone().narrow(1, 0, count_labels) - self.row(&self.scales.label_mean, &device))
                / self.row(&self.scales.label_std, &device);
            let off =
                (explained.clone().narrow(1, 0, count_labels) - wanted.clamp(-LARGEST_TARGET, LARGEST_TARGET)).abs();
            // Huber's loss with a corner at 0.1: close labels count on.
            let near = off.clone().clamp(0.0, 0.1);
            let part = (near.clone().powi_scalar(2).mul_scalar(5.0) + (off - near)).mean();
            loss.total = loss.total + part.clone().mul_scalar(batch.label_weight);
            loss.parts.push(("labels", part));
        }
        if phases > 0 {
            let phase = labels.clone().narrow(1, count_labels, 1).int();
            let part = log_softmax(explained.narrow(1, count_labels, phases), 1).gather(1, phase).mean().neg();
            loss.total = loss.total + part.clone().mul_scalar(batch.phase_weight);
            loss.parts.push(("phase", part));
        }
        loss
    }
}
