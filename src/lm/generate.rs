//! Continuing a prompt token by token.

use crate::error::Result;
use crate::kernels::Kernels;
use crate::model::{Cache, Decoder, Taps, first_largest, score_token};
use crate::request::{Edit, Response, Sampling};
use crate::text::Tokenizer;

/// When and how to go on.
pub(super) struct Generation<'a> {
    pub stop: &'a [String],
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub ends: &'a [u32],
    pub max_length: usize,
}

/// Generates until an end token, a stop text anywhere in what was generated (also across token borders), `max_tokens`,
/// or the model's longest input. The text is cut before the first occurrence of each stop text, in the order of the
/// list, and has no special tokens. Goes on from a prompt's keys and values and the logits after its last token.
pub(super) fn generate<K: Kernels>(
    decoder: &Decoder<K>,
    tokenizer: &Tokenizer,
    edits: &[Edit],
    (mut cache, mut logits): (Cache<K>, Vec<f32>),
    limits: &Generation<'_>,
) -> Result<Response> {
    let (mut tokens, mut log_probs, mut text) = (Vec::new(), Vec::new(), String::new());
    while tokens.len() < limits.max_tokens {
        let next = match limits.sampling {
            Sampling::Greedy => first_largest(&logits) as u32,
        };
        tokens.push(next);
        log_probs.push(score_token(&logits, next).log_prob);
        text = tokenizer.decode(&tokens)?;
        let stopped = limits.stop.iter().any(|stop| !stop.is_empty() && text.contains(stop));
        if stopped
            || limits.ends.contains(&next)
            || tokens.len() == limits.max_tokens
            || cache.length() == limits.max_length
        {
            break;
        }
        let mut taps = Taps::new(decoder.kernels(), &[], edits, cache.length());
        let hidden = decoder.forward(&[next], &mut cache, &mut taps)?;
        logits = decoder.host_logits(&hidden, &[0])?.values;
    }
    Ok(Response::Generate { text: cut(&text, limits.stop).to_owned(), tokens, log_probs })
}

/// What stands before the first occurrence of each stop text, one after the other.
fn cut<'a>(text: &'a str, stop: &[String]) -> &'a str {
    let stops = stop.iter().filter(|stop| !stop.is_empty());
    stops.fold(text, |text, stop| text.split_once(stop.as_str()).map_or(text, |(before, _)| before))
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_before_the_first_of_each() {
        let stop = ["\n\n".to_owned(), String::new(), "Q:".to_owned()];
        assert_eq!(cut("a Q: b\n\nQ: c", &stop), "a ");
        assert_eq!(cut("a\n\nb", &stop), "a");
        assert_eq!(cut("plain", &stop), "plain");
    }
}
