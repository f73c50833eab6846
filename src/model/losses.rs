//! Losses without gradients: mean negative log-likelihoods of spans.

use super::cache::{Cache, Sequence};
use super::decoder::Decoder;
use super::taps::Taps;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::Kernels;

/// Tokens, the last of which, from `start` on, are predicted.
#[derive(Debug, Clone, Copy)]
pub struct Predicted<'a> {
    pub tokens: &'a [u32],
    pub start: usize,
}

impl<K: Kernels> Decoder<K> {
    /// Mean negative log-likelihood of each item's predicted tokens, in nats. Items go through the model together, as many
    /// as have about `rows` tokens; none depends on the others.
    ///
    /// # Errors
    /// Items of which nothing is predicted, by number; tokens outside the vocabulary.
    pub fn mean_losses(&self, items: &[Predicted<'_>], rows: usize) -> Result<Vec<f64>> {
        let empty = items.iter().enumerate().filter(|(_, item)| item.start == 0 || item.start >= item.tokens.len());
        let problem = |(number, item): (usize, &Predicted<'_>)| {
            let (start, end) = (item.start, item.tokens.len());
            let message = format!("expected tokens to predict behind at least one, found {start}..{end}");
            Diagnostic::new(message).at(format!("item {number}"))
        };
        Error::check(empty.map(problem).collect())?;
        let mut losses = Vec::with_capacity(items.len());
        let mut first = 0;
        while first < items.len() {
            let mut tokens = 0;
            let fitting = items[first..].iter().take_while(|item| {
                tokens += item.tokens.len();
                tokens <= rows
            });
            let batch = &items[first..first + fitting.count().max(1)];
            self.losses_of(batch, &mut losses)?;
            first += batch.len();
        }
        Ok(losses)
    }

    fn losses_of(&self, batch: &[Predicted<'_>], losses: &mut Vec<f64>) -> Result<()> {
        let mut caches: Vec<Cache<K>> = batch.iter().map(|_| self.empty_cache()).collect();
        let mut sequences: Vec<Sequence<'_, K>> = batch
            .iter()
            .zip(&mut caches)
            .map(|(item, cache)| Sequence { tokens: &item.tokens[..item.tokens.len() - 1], cache, keep: false })
            .collect();
        let hidden = self.forward_all(&mut sequences, &mut Taps::none(&self.kernels))?;
        let mut wanted = Vec::new();
        let mut before = 0;
        for item in batch {
            wanted.extend((item.start..item.tokens.len()).map(|place| (before + place - 1, item.tokens[place])));
            before += item.tokens.len() - 1;
        }
        let mut scored = self.score(&hidden, &wanted)?.into_iter();
        for item in batch {
            let count = item.tokens.len() - item.start;
            let sum: f64 = scored.by_ref().take(count).map(|token| -f64::from(token.log_prob)).sum();
            losses.push(sum / count as f64);
        }
        Ok(())
    }
}
