//! Noise that is the same on every device for the same seed.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A source of standard normal numbers.
#[derive(Debug)]
pub struct Noise(ChaCha8Rng);

impl Noise {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// `count` whole numbers from 0 to below `end`, which is at least 1.
    pub fn steps(&mut self, count: usize, end: usize, device: &Device) -> Tensor<1, Int> {
        let values: Vec<i64> = (0..count).map(|_| self.0.random_range(0..end.max(1)) as i64).collect();
        Tensor::from_data(TensorData::new(values, [count]), device)
    }

    /// A tensor of the next numbers.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let count: usize = shape.iter().product();
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            // Box and Muller: two even numbers make two normal ones.
            let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
            let angle = std::f64::consts::TAU * self.0.random::<f64>();
            values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
        }
        values.truncate(count);
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}
