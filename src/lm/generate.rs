//! Continuing a prompt token by token.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::{Error, Result};
use crate::kernels::LogitRow;
use crate::request::{Ask, Begun, Plan, Response, Sampling};
use crate::text::Tokenizer;

/// What ends the generations of one model.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Tokens that end one.
    pub ends: &'a [u32],
    /// Longest input.
    pub max_length: usize,
}

/// A generation on its way. It ends with an end token, a stop text anywhere in what was generated (also across token
/// borders), `max_tokens`, or the model's longest input.
pub(super) struct Generation {
    pub request: usize,
    so_far: Begun,
    text: String,
    /// Random numbers of this request alone.
    stream: Option<ChaCha12Rng>,
}

impl Rules<'_> {
    /// Positions that a generation may add to its prompt and to what it has already. The last token is never an input.
    pub fn longest(&self, plan: &Plan, request: usize) -> usize {
        let there = plan.requests()[request].tokens.len();
        let begun = plan.begun(request).map_or(0, |begun| begun.tokens.len());
        let asked = asked(plan, request).map_or(0, |(_, max_tokens, _)| max_tokens.saturating_sub(1 + begun));
        asked.min(self.max_length.saturating_sub(there)).max(1)
    }
}

impl Generation {
    /// One at its beginning, or one that goes on where it was stopped.
    pub fn begin(plan: &Plan, request: usize) -> Result<Self> {
        let (_, _, sampling) = asked(plan, request)?;
        let so_far = plan.begun(request).cloned().unwrap_or_default();
        let tokens = &plan.requests()[request].tokens;
        let stream = match sampling {
            Sampling::Greedy => None,
            Sampling::Random { seed, .. } => {
                let mut stream = stream(seed, &tokens[..tokens.len() - so_far.tokens.len()]);
                // Each token took one number.
                for _ in &so_far.tokens {
                    uniform(&mut stream);
                }
                Some(stream)
            }
        };
        Ok(Self { request, so_far, text: String::new(), stream })
    }

    pub fn so_far(&self) -> &Begun {
        &self.so_far
    }

    /// The token that goes in next.
    pub fn last(&self) -> &[u32] {
        &self.so_far.tokens[self.so_far.tokens.len().saturating_sub(1)..]
    }

    /// Chooses a token from the logits after the last one; says whether that was the end. `logit` gives the logit of
    /// one token, `all` those of all tokens; `full` says that the model's longest input is reached.
    #[expect(clippy::too_many_arguments, reason = "what is known about one row of logits, at three prices")]
    pub fn step(
        &mut self,
        plan: &Plan,
        rules: &Rules<'_>,
        tokenizer: &Tokenizer,
        row: LogitRow,
        logit: &dyn Fn(u32) -> Result<f32>,
        all: &dyn Fn() -> Result<Vec<f32>>,
        full: bool,
    ) -> Result<bool> {
        let (stop, max_tokens, sampling) = asked(plan, self.request)?;
        let token = match (sampling, &mut self.stream) {
            (Sampling::Random { temperature, top_p, top_k, .. }, Some(stream)) if temperature > 0.0 => {
                draw(&all()?, temperature, top_p, top_k, uniform(stream))
            }
            _ => row.best as u32,
        };
        let Begun { tokens, log_probs } = &mut self.so_far;
        tokens.push(token);
        log_probs.push(row.log_prob(logit(token)?));
        self.text = tokenizer.decode(tokens)?;
        let stopped = stop.iter().any(|stop| !stop.is_empty() && self.text.contains(stop));
        Ok(stopped || rules.ends.contains(&token) || tokens.len() >= max_tokens || full)
    }

    /// The text is cut before the first occurrence of each stop text, in the order of the list, and has no special
    /// tokens.
    pub fn response(self, plan: &Plan) -> Result<Response> {
        let (stop, ..) = asked(plan, self.request)?;
        let text = cut(&self.text, stop).to_owned();
        let Begun { tokens, log_probs } = self.so_far;
        Ok(Response::Generate { text, tokens, log_probs })
    }
}

fn asked(plan: &Plan, request: usize) -> Result<(&[String], usize, Sampling)> {
    match &plan.requests()[request].ask {
        Ask::Generate { stop, max_tokens, sampling } => Ok((stop, *max_tokens, *sampling)),
        _ => Err(Error::internal("a generation for another kind of request")),
    }
}

/// The random numbers of one prompt: they depend on the seed and its tokens, not on what else is asked.
fn stream(seed: u64, tokens: &[u32]) -> ChaCha12Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"veval.sampling/1");
    hasher.update(&seed.to_le_bytes());
    for token in tokens {
        hasher.update(&token.to_le_bytes());
    }
    ChaCha12Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Uniform in [0, 1), in steps of 2^-53.
fn uniform(stream: &mut ChaCha12Rng) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The token at `point` of the distribution function over tokens in descending order of their logits (equal ones in
/// order of their ids), after temperature, then the `top_k` most likely (0 for all), then the smallest set of them that
/// holds `top_p` of the probability: the order of transformers 5.23.
fn draw(logits: &[f32], temperature: f64, top_p: f64, top_k: usize, point: f64) -> u32 {
    let numbers = logits.iter().zip(0u32..).filter(|(logit, _)| !logit.is_nan());
    let mut order: Vec<u64> = numbers.map(|(logit, id)| place_in_order(*logit, id)).collect();
    if top_k > 0 && top_k < order.len() {
        order.select_nth_unstable(top_k - 1);
        order.truncate(top_k);
    }
    order.sort_unstable();
    let logit = |place: &u64| f64::from(logits[*place as u32 as usize]);
    let Some(max) = order.first().map(logit) else { return 0 };
    let weights: Vec<f64> = order.iter().map(|place| libm::exp((logit(place) - max) / temperature)).collect();
    let total: f64 = weights.iter().sum();
    let mut held = 0.0;
    let kept = weights.iter().take_while(|weight| {
        let open = held < top_p * total;
        held += **weight;
        open
    });
    let kept = kept.count().max(1);
    let mass: f64 = weights[..kept].iter().sum();
    let mut below = 0.0;
    let place = weights[..kept].iter().position(|weight| {
        below += weight;
        point * mass < below
    });
    order[place.unwrap_or(kept - 1)] as u32
}

/// A number by which tokens stand in descending order of their logits, equal ones in order of their ids, which are its lower
/// half. One number is sorted several times as fast as two are compared.
fn place_in_order(logit: f32, id: u32) -> u64 {
    let bits = logit.to_bits();
    // As unsigned numbers, from the largest to the smallest.
    let descending = if bits >> 31 == 0 { !(bits | (1 << 31)) } else { bits };
    u64::from(descending) << 32 | u64::from(id)
}

/// What stands before the first occurrence of each stop text, one after the other.
fn cut<'a>(text: &'a str, stop: &[String]) -> &'a str {
    let stops = stop.iter().filter(|stop| !stop.is_empty());
    stops.fold(text, |text, stop| text.split_once(stop.as_str()).map_or(text, |(before, _)| before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_before_the_first_of_each() {
        let stop = ["\n\n".to_owned(), String::new(), "Q:".to_owned()];
        assert_eq!(cut("a Q: b\n\nQ: c", &stop), "a ");
        assert_eq!(cut("a\n\nb", &stop), "a");
        assert_eq!(cut("plain", &stop), "plain");
    }

    /// How often each token comes, over an even grid of points.
    fn shares(logits: &[f32], temperature: f64, top_p: f64, top_k: usize) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for i in 0..10_000 {
            counts[draw(logits, temperature, top_p, top_k, f64::from(i) / 10_000.0) as usize] += 1e-4;
        }
        counts
    }

    fn near(found: &[f64], expected: &[f64]) {
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 2e-4), "{found:?}, not {expected:?}");
    }

    #[test]
    fn draws_from_the_distribution_that_is_left() {
        let logits: Vec<f32> = [0.1f32, 0.4, 0.2, 0.3].iter().map(|p| p.ln()).collect();
        near(&shares(&logits, 1.0, 1.0, 0), &[0.1, 0.4, 0.2, 0.3]);
        near(&shares(&logits, 1.0, 1.0, 2), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        near(&shares(&logits, 1.0, 0.69, 0), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        near(&shares(&logits, 1.0, 0.71, 0), &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
        // Half the temperature squares the probabilities.
        near(&shares(&logits, 0.5, 1.0, 0), &[1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]);
        assert_eq!(draw(&[1.0, f32::NAN, 1.0], 1.0, 1.0, 1, 0.99), 0);
    }

    #[test]
    fn the_order_is_descending_and_total() {
        let values =
            [f32::INFINITY, 3.5, 1.0, f32::MIN_POSITIVE, 1e-45, 0.0, -0.0, -1e-45, -1.0, -3.5, f32::NEG_INFINITY];
        let places: Vec<u64> = values.iter().map(|&value| place_in_order(value, 7)).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:x?}");
        assert!(place_in_order(1.0, 7) < place_in_order(1.0, 8));
        assert_eq!(place_in_order(-2.0, u32::MAX) as u32, u32::MAX);
    }

    #[test]
    fn a_stream_depends_on_seed_and_prompt_only() {
        let first = |seed, tokens: &[u32]| uniform(&mut stream(seed, tokens));
        assert_eq!(first(1, &[1, 2]), first(1, &[1, 2]));
        assert!(first(1, &[1, 2]) != first(2, &[1, 2]) && first(1, &[1, 2]) != first(1, &[2, 1]));
        let mut stream = stream(0, &[]);
        let mean = (0..10_000).map(|_| uniform(&mut stream)).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
