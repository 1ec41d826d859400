//! Temporal ensembling: a new chunk every tick, and each action a weighted mean of all chunks that foretold it.

use std::collections::VecDeque;

/// The running means of the ticks to come.
#[derive(Debug, Clone)]
pub struct TemporalEnsemble {
    weights: Vec<f64>,
    /// Mean and number of chunks in it, for each coming tick.
    coming: VecDeque<(Vec<f32>, usize)>,
}

impl TemporalEnsemble {
    /// Weight exp(-coefficient * i) for the i-th oldest chunk; 0.01 in the paper, 0 weighs all alike. `chunk_size` is at
    /// least 1.
    pub fn new(coefficient: f64, chunk_size: usize) -> Self {
        let weights = (0..chunk_size.max(1)).map(|i| (-coefficient * i as f64).exp()).collect();
        Self { weights, coming: VecDeque::new() }
    }

    /// Forgets everything: a new episode.
    pub fn reset(&mut self) {
        self.coming.clear();
    }

    /// Takes this tick's chunk (`chunk_size` actions of the same width, the first for this tick) and gives this tick's
    /// action. `None` for an empty chunk.
    pub fn update(&mut self, chunk: &[Vec<f32>]) -> Option<Vec<f32>> {
        for (i, action) in chunk.iter().enumerate() {
            match self.coming.get_mut(i) {
                Some((mean, count)) => {
                    let before: f64 = self.weights[..*count].iter().sum();
                    let weight = self.weights[*count];
                    for (m, a) in mean.iter_mut().zip(action) {
                        *m = ((f64::from(*m) * before + f64::from(*a) * weight) / (before + weight)) as f32;
                    }
                    *count = (*count + 1).min(self.weights.len() - 1);
                }
                None => self.coming.push_back((action.clone(), 1.min(self.weights.len() - 1))),
            }
        }
        self.coming.pop_front().map(|(mean, _)| mean)
    }
}
