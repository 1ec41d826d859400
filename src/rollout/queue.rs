//! Chunks of targets in the order in which they were asked for, and what they say for a tick.

use std::collections::VecDeque;

/// Chunks that have arrived, and what they say for each tick.
#[derive(Clone, Debug, Default)]
pub struct ChunkQueue {
    /// Tick it was asked in, and its targets; newest first.
    chunks: VecDeque<(u64, Vec<f32>)>,
    joints: usize,
}

impl ChunkQueue {
    /// An empty queue for chunks of so many joints.
    pub fn new(joints: usize) -> Self {
        Self { chunks: VecDeque::new(), joints }
    }

    /// Adds the chunk that was asked for in tick `asked`.
    pub fn push(&mut self, asked: u64, chunk: Vec<f32>) {
        let at = self.chunks.iter().take_while(|(other, _)| *other > asked).count();
        self.chunks.insert(at, (asked, chunk));
    }

    /// Targets for `tick`; `None` when no chunk reaches so far. Chunks that are used up are dropped.
    pub fn targets(&mut self, tick: u64, ensemble: Option<f32>) -> Option<Vec<f32>> {
        let joints = self.joints;
        let part = |(asked, chunk): &(u64, Vec<f32>)| {
            let step = usize::try_from(tick.checked_sub(*asked)?).ok()?;
            chunk.get(step * joints..(step + 1) * joints).map(<[f32]>::to_vec)
        };
        self.chunks.retain(|chunk| part(chunk).is_some());
        let newest = self.chunks.front()?;
        let Some(fading) = ensemble else { return part(newest) };
        let (mut sums, mut weights) = (vec![0.0; joints], 0.0);
        for chunk in &self.chunks {
            let weight = (-fading * (newest.0 - chunk.0) as f32).exp();
            for (sum, target) in sums.iter_mut().zip(part(chunk)?) {
                *sum += weight * target;
            }
            weights += weight;
        }
        Some(sums.into_iter().map(|sum| sum / weights).collect())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::act::TemporalEnsemble;

    fn chunk(first: f32) -> Vec<f32> {
        (0..4).map(|step| first + step as f32).collect()
    }

    #[test]
    fn the_newest_chunk_counts_and_late_ones_are_followed_from_their_own_tick() {
        let mut queue = ChunkQueue::new(1);
        queue.push(10, chunk(0.0));
        assert_eq!(queue.targets(10, None), Some(vec![0.0]));
        // Arrives two ticks after it was asked for.
        queue.push(12, chunk(100.0));
        queue.push(11, chunk(50.0));
        assert_eq!(queue.targets(13, None), Some(vec![101.0]));
        assert_eq!(queue.targets(15, None), Some(vec![103.0]));
        assert_eq!(queue.targets(16, None), None);
    }

    #[test]
    fn ensembling_weighs_older_chunks_less() {
        let mut queue = ChunkQueue::new(1);
        queue.push(0, vec![0.0; 4]);
        queue.push(1, vec![1.0; 4]);
        assert_eq!(queue.targets(1, Some(0.0)), Some(vec![0.5]));
        let weighed = queue.targets(2, Some(1.0)).unwrap()[0];
        assert!((weighed - 1.0 / (1.0 + (-1.0f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn with_a_chunk_every_tick_it_is_lerobots_ensembling() {
        let coefficient = 0.3;
        let (mut queue, mut theirs) = (ChunkQueue::new(2), TemporalEnsemble::new(coefficient, 5));
        for tick in 0..20u64 {
            let value = |step: usize, joint: usize| ((tick as f32 + 1.3 * step as f32) * 0.7 + joint as f32).sin();
            let chunk: Vec<Vec<f32>> = (0..5).map(|step| vec![value(step, 0), value(step, 1)]).collect();
            queue.push(tick, chunk.concat());
            let ours = queue.targets(tick, Some(-coefficient as f32)).unwrap();
            let theirs = theirs.update(&chunk).unwrap();
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-5), "tick {tick}: {ours:?} {theirs:?}");
        }
    }
}
