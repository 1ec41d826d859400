//! A network of a size for which other frameworks' times are known: what this program's speed is compared with. Two cameras
//! of 96x96, five 3x3 convolutions, 72 picture tokens, one of the joints and 16 queries through two transformer layers of
//! width 128, one action a query; 0.8 million weights.

use super::act::{Activation, Encoder, LayerShape};
use super::learner::{Batch, Learner, Loss};
use super::nn::{Conv2d, Linear, normal};
use super::stack::{Stack, StackLayer};
use super::stack_op::conv_stack;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Output channels and strides of the convolutions.
const CONVOLUTIONS: [(usize, usize); 5] = [(32, 2), (64, 2), (128, 2), (128, 2), (128, 1)];
/// Width of a token.
const WIDTH: usize = 128;
/// Side of the last map for pictures of 96x96.
const SIDE: usize = 6;
/// Cameras.
pub const CAMERAS: usize = 2;
/// Actions in a chunk.
pub const CHUNK: usize = 16;
/// Joints.
pub const JOINTS: usize = 6;

/// The network.
#[derive(Module, Debug)]
pub struct Yardstick {
    convolutions: Vec<Conv2d>,
    joints: Linear,
    queries: Param<Tensor<2>>,
    places: Param<Tensor<2>>,
    layers: Encoder,
    head: Linear,
}

impl Yardstick {
    /// With random weights.
    pub fn new(device: &Device) -> Self {
        let mut channels = 3;
        let convolutions = CONVOLUTIONS.map(|(output, stride)| {
            let input = std::mem::replace(&mut channels, output);
            Conv2d::new(input, output, 3, stride, 1, device)
        });
        let shape = LayerShape {
            width: WIDTH,
            heads: 4,
            feedforward: 4 * WIDTH,
            dropout: 0.0,
            pre_norm: true,
            activation: Activation::Relu,
        };
        let tokens = CAMERAS * SIDE * SIDE + 1 + CHUNK;
        Self {
            convolutions: convolutions.into(),
            joints: Linear::new(JOINTS, WIDTH, device),
            queries: normal([CHUNK, WIDTH], 0.02, device),
            places: normal([tokens, WIDTH], 0.02, device),
            layers: Encoder::new(2, &shape, device),
            head: Linear::new(WIDTH, JOINTS, device),
        }
    }

    /// `pictures` of the cameras, each [batch, 3, 96, 96], `state` [batch, joints]; actions [batch, chunk, joints].
    pub fn forward(&self, pictures: &[Tensor<4>], state: Tensor<2>) -> Tensor<3> {
        let [batch, _] = state.dims();
        let maps = self.maps(Tensor::cat(pictures.to_vec(), 0));
        let tokens = maps.reshape([CAMERAS, batch, WIDTH, SIDE * SIDE]).permute([1, 0, 3, 2]);
        let tokens = tokens.reshape([batch, CAMERAS * SIDE * SIDE, WIDTH]);
        let joints = self.joints.forward(state).reshape([batch, 1, WIDTH]);
        let queries = self.queries.val().unsqueeze::<3>().expand([batch, CHUNK, WIDTH]);
        let tokens = Tensor::cat(vec![tokens, joints, queries], 1);
        let tokens = self.layers.forward(tokens, self.places.val().unsqueeze::<3>(), None);
        let first = CAMERAS * SIDE * SIDE + 1;
        self.head.forward(tokens.narrow(1, first, CHUNK))
    }

    /// The last maps of pictures, as one operation where they have a size for that.
    fn maps(&self, pictures: Tensor<4>) -> Tensor<4> {
        let [images, channels, height, width] = pictures.dims();
        let layers =
            CONVOLUTIONS.map(|(out, stride)| StackLayer { out, kernel: 3, stride, padding: 1, residual: false });
        let Some(stack) = Stack::new(channels, (height, width), 0.0, &layers) else {
            return self.convolutions.iter().fold(pictures, |x, convolution| convolution.forward_relu(x));
        };
        let bias = |convolution: &Conv2d| convolution.bias.as_ref().map(Param::val);
        let parameters = self.convolutions.iter().flat_map(|c| [Some(c.weight.val().flatten(0, 3)), bias(c)]);
        let (out, height, width) = stack.output();
        let parameters = Tensor::cat(parameters.flatten().collect(), 0);
        conv_stack(pictures, parameters, &stack).reshape([images, out, height, width])
    }
}

impl Learner for Yardstick {
    fn loss(&self, batch: &Batch) -> Loss {
        let [rows, _, joints] = batch.state.dims();
        let actions = self.forward(&batch.pictures, batch.state.clone().reshape([rows, joints]));
        let total = (actions - batch.action.clone()).abs().mean();
        Loss { parts: vec![("actions", total.clone())], total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_large_as_the_one_it_is_compared_with() {
        let device = Device::flex();
        let network = Yardstick::new(&device);
        assert!((780_000..860_000).contains(&network.num_params()), "{}", network.num_params());
        let pictures = vec![Tensor::zeros([2, 3, 96, 96], &device); CAMERAS];
        assert_eq!(network.forward(&pictures, Tensor::zeros([2, JOINTS], &device)).dims(), [2, CHUNK, JOINTS]);
    }

    #[test]
    fn one_operation_for_all_convolutions_is_the_convolutions_one_by_one() {
        let device = Device::flex();
        let network = Yardstick::new(&device);
        let pictures = Tensor::<4>::random([2, 3, 96, 96], burn::tensor::Distribution::Default, &device);
        let each = network.convolutions.iter().fold(pictures.clone(), |x, convolution| convolution.forward_relu(x));
        let off = (network.maps(pictures) - each).abs().max().into_scalar::<f32>();
        assert!(off < 1e-4, "{off}");
    }
}
