//! Weight gradients by candle's tape: slow, and the oracle for a reverse pass of our own.

use std::collections::BTreeMap;

use super::decoder::Decoder;
use super::taps::Taps;
use crate::error::{Error, Result};
use crate::kernels::candle::{Candle, gradients, nll_sum};
use crate::request::{GradSpan, SiteValues};

impl Decoder<Candle> {
    /// Summed negative log-likelihood of the span in nats, and its gradient for every stored parameter, by name.
    ///
    /// # Errors
    /// The decoder must have been loaded with tracked kernels and kept tensors; the span must not be empty or start
    /// at position 0, which nothing predicts.
    pub fn span_gradients(&self, tokens: &[u32], span: GradSpan) -> Result<(f32, BTreeMap<String, SiteValues>)> {
        if span.start == 0 || span.start >= span.end || span.end > tokens.len() {
            return Err(Error::bad(format!(
                "expected a span within 1..{}, found {}..{}",
                tokens.len(),
                span.start,
                span.end
            )));
        }
        let hidden = self.forward(&tokens[..span.end - 1], &mut self.empty_cache(), &mut Taps::none(&self.kernels))?;
        let rows: Vec<usize> = (span.start - 1..span.end - 1).collect();
        let loss = nll_sum(&self.logits(&hidden, &rows)?, &tokens[span.start..span.end])?;
        let raws: Vec<(&str, &_)> = self.raws.iter().map(|(name, raw)| (name.as_str(), raw)).collect();
        let gradients = gradients(&loss, &raws)?;
        Ok((loss.to_scalar()?, gradients.into_iter().collect()))
    }
}
