//! One record of a score file, as bytes.
//!
//! ```text
//! length u32 │ key 32 bytes │ kind u8 │ payload │ checksum 8 bytes        numbers are little-endian
//!            └──────────── length ────────────┘  └ of the length bytes before it: blake3, its first eight
//!
//! score, roll    for each token: log-probability f32, first choice u8
//! generate       count u32, tokens u32 ..., log-probabilities f32 ..., text in UTF-8 to the end
//! ```

use crate::request::{Key, Response, ScoredToken};

/// Bytes before and after what `length` counts.
pub(super) const AROUND: usize = 4 + CHECKSUM;
const CHECKSUM: usize = 8;
const KEY: usize = 32;
/// Nobody scores more than this in one request; a larger length is damage.
const MAX_LENGTH: usize = 1 << 30;

/// What stands at the head of some bytes.
pub(super) enum Found {
    /// A whole record, and the bytes that it takes.
    Record { key: Key, length: usize },
    /// A record whose checksum is wrong.
    Damaged { length: usize },
    /// No whole record: the end, or where a writer was stopped.
    End,
}

/// A record of an answer that can be stored.
pub(super) fn encode(key: &Key, response: &Response) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(key);
    match response {
        Response::Score(tokens) => push_scores(&mut bytes, 0, tokens),
        Response::Roll(tokens) => push_scores(&mut bytes, 1, tokens),
        Response::Generate { tokens, text, log_probs } => {
            bytes.push(2);
            bytes.extend((tokens.len() as u32).to_le_bytes());
            bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
            bytes.extend(log_probs.iter().flat_map(|log_prob| log_prob.to_le_bytes()));
            bytes.extend_from_slice(text.as_bytes());
        }
        _ => return None,
    }
    let length = u32::try_from(bytes.len() - 4).ok().filter(|&length| (length as usize) < MAX_LENGTH)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes[4..]);
    bytes.extend(checksum);
    Some(bytes)
}

fn push_scores(bytes: &mut Vec<u8>, kind: u8, tokens: &[ScoredToken]) {
    bytes.push(kind);
    for token in tokens {
        bytes.extend(token.log_prob.to_le_bytes());
        bytes.push(token.greedy.into());
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut first = [0; CHECKSUM];
    first.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECKSUM]);
    first
}

/// Looks at the head of what is left of a file.
pub(super) fn find(bytes: &[u8]) -> Found {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Found::End };
    let length = u32::from_le_bytes(*length) as usize;
    if length <= KEY || length >= MAX_LENGTH || rest.len() < length + CHECKSUM {
        return Found::End;
    }
    let whole = length + AROUND;
    if rest[length..length + CHECKSUM] != checksum(&rest[..length]) {
        return Found::Damaged { length: whole };
    }
    let mut key = [0; KEY];
    key.copy_from_slice(&rest[..KEY]);
    Found::Record { key, length: whole }
}

/// The answer in a whole record; none where the payload is of no known kind.
pub(super) fn decode(record: &[u8]) -> Option<Response> {
    let body = record.get(4 + KEY..record.len().checked_sub(CHECKSUM)?)?;
    let (kind, payload) = body.split_first()?;
    match kind {
        0 => Some(Response::Score(scores(payload)?)),
        1 => Some(Response::Roll(scores(payload)?)),
        2 => {
            let (count, rest) = payload.split_first_chunk::<4>()?;
            let count = u32::from_le_bytes(*count) as usize;
            let (tokens, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
            let (log_probs, text) = rest.split_at_checked(count * 4)?;
            Some(Response::Generate {
                tokens: tokens.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect(),
                log_probs: log_probs.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                text: String::from_utf8(text.to_vec()).ok()?,
            })
        }
        _ => None,
    }
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

    fn answer() -> impl Strategy<Value = Response> {
        let token = (any::<u32>(), any::<bool>())
            .prop_map(|(bits, greedy)| ScoredToken { log_prob: f32::from_bits(bits & 0xbfff_ffff), greedy });
        let tokens = prop::collection::vec(token, 0..9);
        prop_oneof![
            tokens.clone().prop_map(Response::Score),
            tokens.prop_map(Response::Roll),
            (prop::collection::vec((any::<u32>(), -9f32..0.0), 0..9), ".*").prop_map(|(pairs, text)| {
                let (tokens, log_probs) = pairs.into_iter().unzip();
                Response::Generate { tokens, text, log_probs }
            }),
        ]
    }

    proptest! {
        #[test]
        fn answers_come_back(answer in answer(), key in any::<[u8; 32]>()) {
            let bytes = encode(&key, &answer).unwrap();
            let Found::Record { key: found, length } = find(&bytes) else { panic!("no record") };
            prop_assert_eq!((found, length), (key, bytes.len()));
            prop_assert_eq!(decode(&bytes), Some(answer));
            for cut in 0..bytes.len() {
                prop_assert!(matches!(find(&bytes[..cut]), Found::End));
            }
            for place in 4..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x10;
                let found = find(&damaged);
                let passed_over = matches!(found, Found::Damaged { length } if length == bytes.len());
                prop_assert!(passed_over);
            }
        }

        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = find(&bytes);
            let _ = decode(&bytes);
        }
    }
}
