//! One record of a score file, as bytes.
//!
//! ```text
//! length u32 │ key 32 bytes │ kind u8 │ payload │ checksum 8 bytes        numbers are little-endian
//!            └──────────── length ────────────┘  └ of the length bytes before it: blake3, its first eight
//!
//! score, roll    for each token: log-probability f32, first choice u8
//! generate       count u32, tokens u32 ..., log-probabilities f32 ..., text in UTF-8 to the end
//! begun          the same without the text: a generation that was not at its end
//! ```

use crate::request::{Begun, Key, Response, ScoredToken};

/// Bytes before and after what `length` counts.
pub(super) const AROUND: usize = 4 + CHECKSUM;
const CHECKSUM: usize = 8;
const KEY: usize = 32;
/// Nobody scores more than this in one request; a larger length is damage.
const MAX_LENGTH: usize = 1 << 30;

/// What is stored of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    Whole(Response),
    Begun(Begun),
}

const BEGUN: u8 = 3;

/// Whether a record holds a whole answer.
pub(super) fn is_whole(record: &[u8]) -> bool {
    record.get(4 + KEY).is_some_and(|&kind| kind != BEGUN)
}

/// A record of an answer that can be stored.
pub(super) fn encode(key: &Key, response: &Response) -> Option<Vec<u8>> {
    match response {
        Response::Score(tokens) => record(key, 0, &scores_bytes(tokens)),
        Response::Roll(tokens) => record(key, 1, &scores_bytes(tokens)),
        Response::Generate { tokens, text, log_probs } => {
            record(key, 2, &[&generated_bytes(tokens, log_probs), text.as_bytes()].concat())
        }
        _ => None,
    }
}

/// A record of a generation on its way.
pub(super) fn encode_begun(key: &Key, Begun { tokens, log_probs }: &Begun) -> Option<Vec<u8>> {
    record(key, BEGUN, &generated_bytes(tokens, log_probs))
}

fn record(key: &Key, kind: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let length = Some(KEY + 1 + payload.len()).filter(|&length| length < MAX_LENGTH)?;
    let mut bytes = Vec::with_capacity(length + AROUND);
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    let checksum = checksum(&bytes[4..]);
    bytes.extend(checksum);
    Some(bytes)
}

fn scores_bytes(tokens: &[ScoredToken]) -> Vec<u8> {
    let bytes = |token: &ScoredToken| token.log_prob.to_le_bytes().into_iter().chain([u8::from(token.greedy)]);
    tokens.iter().flat_map(bytes).collect()
}

fn generated_bytes(tokens: &[u32], log_probs: &[f32]) -> Vec<u8> {
    let numbers = [tokens.len() as u32].into_iter().chain(tokens.iter().copied());
    numbers.chain(log_probs.iter().map(|log_prob| log_prob.to_bits())).flat_map(u32::to_le_bytes).collect()
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut first = [0; CHECKSUM];
    first.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECKSUM]);
    first
}

/// The whole record at the head of some bytes: its key, and the bytes that it takes. None where a writer was stopped, and
/// where a checksum is wrong.
pub(super) fn find(bytes: &[u8]) -> Option<(Key, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length <= KEY || length >= MAX_LENGTH || rest.len() < length + CHECKSUM {
        return None;
    }
    if rest[length..length + CHECKSUM] != checksum(&rest[..length]) {
        return None;
    }
    let key = rest.first_chunk::<KEY>()?;
    Some((*key, length + AROUND))
}

/// What a whole record holds; none where the payload is of no known kind.
pub(super) fn decode(record: &[u8]) -> Option<Held> {
    let body = record.get(4 + KEY..record.len().checked_sub(CHECKSUM)?)?;
    let (&kind, payload) = body.split_first()?;
    match kind {
        0 => Some(Held::Whole(Response::Score(scores(payload)?))),
        1 => Some(Held::Whole(Response::Roll(scores(payload)?))),
        2 => {
            let (Begun { tokens, log_probs }, text) = generated(payload)?;
            let text = String::from_utf8(text.to_vec()).ok()?;
            Some(Held::Whole(Response::Generate { text, tokens, log_probs }))
        }
        BEGUN => generated(payload).filter(|(_, rest)| rest.is_empty()).map(|(begun, _)| Held::Begun(begun)),
        _ => None,
    }
}

/// Tokens and their log-probabilities, and what stands behind them.
fn generated(payload: &[u8]) -> Option<(Begun, &[u8])> {
    let (count, rest) = payload.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    let (tokens, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
    let (log_probs, rest) = rest.split_at_checked(count * 4)?;
    let begun = Begun {
        tokens: tokens.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect(),
        log_probs: log_probs.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    };
    Some((begun, rest))
}

fn scores(payload: &[u8]) -> Option<Vec<ScoredToken>> {
    let (tokens, rest) = payload.as_chunks::<5>();
    let one = |[a, b, c, d, greedy]: &[u8; 5]| ScoredToken {
        log_prob: f32::from_le_bytes([*a, *b, *c, *d]),
        greedy: *greedy != 0,
    };
    rest.is_empty().then(|| tokens.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer() -> impl Strategy<Value = Held> {
        let token = (any::<u32>(), any::<bool>())
            .prop_map(|(bits, greedy)| ScoredToken { log_prob: f32::from_bits(bits & 0xbfff_ffff), greedy });
        let tokens = prop::collection::vec(token, 0..9);
        prop_oneof![
            tokens.clone().prop_map(|tokens| Held::Whole(Response::Score(tokens))),
            tokens.prop_map(|tokens| Held::Whole(Response::Roll(tokens))),
            (prop::collection::vec((any::<u32>(), -9f32..0.0), 0..9), prop::option::of(".*")).prop_map(
                |(pairs, text)| {
                    let (tokens, log_probs) = pairs.into_iter().unzip();
                    match text {
                        Some(text) => Held::Whole(Response::Generate { tokens, text, log_probs }),
                        None => Held::Begun(Begun { tokens, log_probs }),
                    }
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn answers_come_back(answer in answer(), key in any::<[u8; 32]>()) {
            let bytes = match &answer {
                Held::Whole(response) => encode(&key, response),
                Held::Begun(begun) => encode_begun(&key, begun),
            };
            let bytes = bytes.unwrap();
            prop_assert_eq!(find(&bytes), Some((key, bytes.len())));
            prop_assert_eq!(decode(&bytes), Some(answer));
            for cut in 0..bytes.len() {
                prop_assert_eq!(find(&bytes[..cut]), None);
            }
            for place in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x10;
                prop_assert_eq!(find(&damaged), None);
            }
        }

        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = find(&bytes);
            let _ = decode(&bytes);
        }
    }
}
