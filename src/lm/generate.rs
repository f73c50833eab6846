//! Continuing a prompt token by token.

use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::{Decoder, Taps, first_largest, score_token};
use crate::request::{Request, Response, Sampling};
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
/// list, and has no special tokens.
pub(super) fn generate<K: Kernels>(
    decoder: &Decoder<K>,
    tokenizer: &Tokenizer,
    request: &Request,
    limits: &Generation<'_>,
) -> Result<Response> {
    decoder.check_sites(&[], &request.edits)?;
    let (mut cache, mut input) = (decoder.empty_cache(), request.tokens.to_vec());
    let (mut tokens, mut log_probs, mut text) = (Vec::new(), Vec::new(), String::new());
    if input.is_empty() {
        return Err(Error::bad("expected at least one token in the prompt, found none"));
    }
    while tokens.len() < limits.max_tokens && cache.length() + input.len() <= limits.max_length {
        let mut taps = Taps::new(decoder.kernels(), &[], &request.edits, cache.length());
        let hidden = decoder.forward(&input, &mut cache, &mut taps)?;
        let logits = decoder.host_logits(&hidden, &[input.len() - 1])?.values;
        let next = match limits.sampling {
            Sampling::Greedy => first_largest(&logits) as u32,
        };
        tokens.push(next);
        log_probs.push(score_token(&logits, next).log_prob);
        if limits.ends.contains(&next) {
            break;
        }
        text = tokenizer.decode(&tokens)?;
        if limits.stop.iter().any(|stop| !stop.is_empty() && text.contains(stop)) {
            break;
        }
        input = vec![next];
    }
    if tokens.last().is_some_and(|last| limits.ends.contains(last)) {
        text = tokenizer.decode(&tokens)?;
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
