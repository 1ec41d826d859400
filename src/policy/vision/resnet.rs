//! ResNet-18 in torchvision's layout, up to its last feature map (one 32nd of the picture's size).

use crate::policy::nn::{Conv2d, GroupNorm, buffer, max_pool_3x3};
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Weight of the norm that ends a block when nothing is pretrained: with fixed statistics the variance would double
/// from block to block.
const UNTRAINED_BRANCH_SCALE: f64 = 0.25;

/// Batch norm with fixed statistics: a scale and a shift for each channel.
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Mean of the data it was pretrained on.
    pub running_mean: Param<Tensor<1>>,
    /// Variance of that data.
    pub running_var: Param<Tensor<1>>,
    /// Whether the convolution before already holds scale and shift.
    folded: bool,
}

impl FrozenBatchNorm {
    /// Passes everything, times `scale`.
    pub fn new(channels: usize, scale: f64, device: &Device) -> Self {
        let fixed = |value| buffer(Tensor::<1>::full([channels], value, device));
        Self {
            weight: fixed(scale),
            bias: fixed(0.0),
            running_mean: fixed(0.0),
            running_var: fixed(1.0),
            folded: false,
        }
    }

    /// Scale and shift.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() * self.running_var.val().add_scalar(1e-5).sqrt().recip();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }
}

/// The norm behind a convolution.
#[derive(Module, Debug)]
pub enum ChannelNorm {
    /// Fixed statistics, as in ACT.
    Frozen(FrozenBatchNorm),
    /// Groups of 16 channels, as in diffusion policies trained from nothing.
    Group(GroupNorm),
}

impl ChannelNorm {
    fn new(frozen: bool, channels: usize, scale: f64, device: &Device) -> Self {
        if frozen {
            Self::Frozen(FrozenBatchNorm::new(channels, scale, device))
        } else {
            Self::Group(GroupNorm::new((channels / 16).max(1), channels, device))
        }
    }

    /// The convolution and this norm after it.
    fn after(&self, conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Frozen(norm) if norm.folded => conv.forward(x),
            Self::Frozen(norm) => {
                let (scale, shift) = norm.affine();
                conv.forward_scaled(x, scale, shift, false)
            }
            Self::Group(norm) => norm.forward(conv.forward(x)),
        }
    }

    /// The same, and negative numbers become 0.
    fn after_relu(&self, conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Frozen(norm) if norm.folded => conv.forward_relu(x),
            Self::Frozen(norm) => {
                let (scale, shift) = norm.affine();
                conv.forward_scaled(x, scale, shift, true)
            }
            Self::Group(norm) => relu(norm.forward(conv.forward(x))),
        }
    }

    /// Moves a fixed norm into the convolution before it, once and for all.
    fn fold(&mut self, conv: &mut Conv2d) {
        if let Self::Frozen(norm) = self
            && !norm.folded
        {
            let (scale, shift) = norm.affine();
            let [output, _, _, _] = conv.weight.shape().dims();
            conv.weight = Param::from_tensor(conv.weight.val() * scale.reshape([output, 1, 1, 1]));
            conv.bias = Some(Param::from_tensor(shift));
            norm.folded = true;
        }
    }
}

/// Two 3x3 convolutions around which the input is carried.
#[derive(Module, Debug)]
pub struct ResNetBlock {
    conv1: Conv2d,
    bn1: ChannelNorm,
    conv2: Conv2d,
    bn2: ChannelNorm,
    downsample: Option<(Conv2d, ChannelNorm)>,
}

impl ResNetBlock {
    fn new(input: usize, output: usize, stride: usize, frozen: bool, device: &Device) -> Self {
        let downsample = (stride != 1 || input != output).then(|| {
            (Conv2d::for_norm(input, output, 1, stride, 0, device), ChannelNorm::new(frozen, output, 1.0, device))
        });
        Self {
            conv1: Conv2d::for_norm(input, output, 3, stride, 1, device),
            bn1: ChannelNorm::new(frozen, output, 1.0, device),
            conv2: Conv2d::for_norm(output, output, 3, 1, 1, device),
            bn2: ChannelNorm::new(frozen, output, UNTRAINED_BRANCH_SCALE, device),
            downsample,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.bn1.after_relu(&self.conv1, x.clone());
        let y = self.bn2.after(&self.conv2, y);
        let x = match &self.downsample {
            Some((conv, norm)) => norm.after(conv, x),
            None => x,
        };
        relu(x + y)
    }

    fn fold(&mut self) {
        self.bn1.fold(&mut self.conv1);
        self.bn2.fold(&mut self.conv2);
        if let Some((conv, norm)) = &mut self.downsample {
            norm.fold(conv);
        }
    }
}

/// Two blocks, the first of which may halve the picture.
fn layer(input: usize, output: usize, stride: usize, frozen: bool, device: &Device) -> Vec<ResNetBlock> {
    vec![ResNetBlock::new(input, output, stride, frozen, device), ResNetBlock::new(output, output, 1, frozen, device)]
}

fn run(conv: &Conv2d, norm: &ChannelNorm, layers: [&[ResNetBlock]; 4], x: Tensor<4>) -> Tensor<4> {
    let x = max_pool_3x3(norm.after_relu(conv, x));
    layers.into_iter().flatten().fold(x, |x, block| block.forward(x))
}

/// The encoder with torchvision's names and fixed batch norms: ACT's `backbone`.
#[derive(Module, Debug)]
pub struct ResNet18 {
    conv1: Conv2d,
    bn1: ChannelNorm,
    layer1: Vec<ResNetBlock>,
    layer2: Vec<ResNetBlock>,
    layer3: Vec<ResNetBlock>,
    layer4: Vec<ResNetBlock>,
}

impl ResNet18 {
    /// With random weights; `width` channels after the first layer (64 in torchvision), eight times as many at the end.
    pub fn new(width: usize, device: &Device) -> Self {
        Self {
            conv1: Conv2d::for_norm(3, width, 7, 2, 3, device),
            bn1: ChannelNorm::new(true, width, 1.0, device),
            layer1: layer(width, width, 1, true, device),
            layer2: layer(width, 2 * width, 2, true, device),
            layer3: layer(2 * width, 4 * width, 2, true, device),
            layer4: layer(4 * width, 8 * width, 2, true, device),
        }
    }

    /// `[batch, 3, height, width]` to `[batch, 8 width, height / 32, width / 32]`, both rounded up.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        run(&self.conv1, &self.bn1, [&self.layer1, &self.layer2, &self.layer3, &self.layer4], x)
    }

    /// Moves the norms into the convolutions: the same function, faster, no longer a checkpoint's tensors.
    pub fn folded(mut self) -> Self {
        self.bn1.fold(&mut self.conv1);
        for block in [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4].into_iter().flatten() {
            block.fold();
        }
        self
    }
}

/// The same network as LeRobot's diffusion policy names it: torchvision's children in order, 0 the first convolution,
/// 1 its norm, 2 and 3 without parameters, 4 to 7 the layers.
pub type SequentialResNet18 =
    (Conv2d, ChannelNorm, bool, bool, Vec<ResNetBlock>, Vec<ResNetBlock>, Vec<ResNetBlock>, Vec<ResNetBlock>);

/// A [`SequentialResNet18`] with random weights; group norms unless `frozen`.
pub fn sequential(width: usize, frozen: bool, device: &Device) -> SequentialResNet18 {
    (
        Conv2d::for_norm(3, width, 7, 2, 3, device),
        ChannelNorm::new(frozen, width, 1.0, device),
        true,
        true,
        layer(width, width, 1, frozen, device),
        layer(width, 2 * width, 2, frozen, device),
        layer(2 * width, 4 * width, 2, frozen, device),
        layer(4 * width, 8 * width, 2, frozen, device),
    )
}

/// `[batch, 3, height, width]` to `[batch, 8 width, height / 32, width / 32]`, both rounded up.
pub fn forward_sequential(net: &SequentialResNet18, x: Tensor<4>) -> Tensor<4> {
    run(&net.0, &net.1, [&net.4, &net.5, &net.6, &net.7], x)
}
