//! Which samples a minibatch holds: a pure function of the seed and the step, so a run can continue anywhere.

use crate::random::stream;
use rand::Rng;

/// An endless stream of samples, reshuffled every epoch, cut into minibatches.
///
/// When the batch size does not divide the set, a minibatch runs over into the next epoch; no sample is dropped.
#[derive(Clone, Debug)]
pub struct Batches {
    samples: usize,
    batch: usize,
    seed: u64,
    /// The epoch whose order is in `order`.
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Batches {
    /// Minibatches of `batch` out of `samples`.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Self {
        assert!(samples > 0 && u32::try_from(samples).is_ok(), "between one and 2^32 samples");
        Self { samples, batch, seed, epoch: None, order: Vec::new() }
    }

    /// The samples of step `step`, counted from 0.
    pub fn indices(&mut self, step: u64) -> Vec<usize> {
        let first = step * self.batch as u64;
        (first..first + self.batch as u64)
            .map(|position| {
                let samples = self.samples as u64;
                self.shuffle(position / samples);
                self.order[(position % samples) as usize] as usize
            })
            .collect()
    }

    /// Fisher and Yates, with a stream of its own for each epoch.
    fn shuffle(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        let mut rng = stream(self.seed, epoch);
        self.order = (0..self.samples as u32).collect();
        for i in (1..self.samples).rev() {
            // The high bits of a product: a bias below 2^-32 in an order of samples is of no account.
            let j = (u64::from(rng.next_u32()) * (i as u64 + 1)) >> 32;
            self.order.swap(i, j as usize);
        }
        self.epoch = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_epoch_visits_every_sample_once_in_another_order() {
        let mut batches = Batches::new(10, 4, 3);
        let stream: Vec<usize> = (0..10).flat_map(|step| batches.indices(step)).collect();
        let epochs: Vec<_> = stream.chunks(10).collect();
        for epoch in &epochs {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 10);
        }
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn a_minibatch_does_not_depend_on_those_before() {
        let mut in_order = Batches::new(50, 32, 1);
        let all: Vec<_> = (0..8).map(|step| in_order.indices(step)).collect();
        for step in (0..8).rev() {
            assert_eq!(Batches::new(50, 32, 1).indices(step), all[step as usize]);
        }
        assert_ne!(Batches::new(50, 32, 2).indices(0), all[0]);
    }
}
