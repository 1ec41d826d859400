//! Picture encoders: ResNet-18 as torchvision has it, and the spatial softmax.

mod resnet;
mod spatial_softmax;

pub use resnet::{
    ChannelNorm, FrozenBatchNorm, ResNet18, ResNetBlock, SequentialResNet18, forward_sequential, sequential,
};
pub use spatial_softmax::SpatialSoftmax;
