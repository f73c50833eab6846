//! Where a continuation begins, by both rules: hand-made tokenizers whose tokens span the seam, and any split of texts.

use serde_json::{Map, Value, json};
use veval::text::{Pair, Tokenizer, encode_by_length, encode_by_offsets};
use veval::util::python;

use crate::support::fixtures;
use crate::tokenizers::{BOS, NAMED, RULES, open, tokenizer_json, words};

/// Bytes, of which some pairs are one token. `Ġ` is a space and `Ċ` a line end.
fn bytes(trim_offsets: bool) -> Tokenizer {
    let vocab = ["<s>", "a", "b", "c", "Ġ", "Ċ", "ab", "bc", "Ġa", "aĊ", "bĠ"];
    let vocab: Map<String, Value> =
        vocab.iter().enumerate().map(|(id, text)| ((*text).to_owned(), json!(id))).collect();
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim_offsets, "use_regex": false});
    let model = json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                       "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
                       "merges": ["a b", "b c", "Ġ a", "a Ċ", "b Ġ"]});
    let file = tokenizer_json(&["<s>"], level.clone(), level, model);
    open(&file, &[("tokenizer_config.json", r#"{"bos_token": "<s>"}"#)])
}

/// Context, continuation, joint tokens, where the continuation starts by length (`None`: an error) and by offsets (0:
/// one token holds the seam and everything before it, so that the prefix token becomes the context).
const SEAMS: &[(&str, &str, &[u32], Option<usize>, usize)] = &[
    ("c", "a", &[3, 1], Some(1), 1),
    ("<s>c", "a", &[0, 3, 1], Some(2), 2),
    // c|ab: nothing is left by length.
    ("ca", "b", &[3, 6], None, 1),
    ("a", "\n", &[9], None, 0),
    // c|ab|c, ab|c, c|aĊ|b, c|bĠ|c: what is left by length comes short.
    ("ca", "bc", &[3, 6, 3], Some(2), 1),
    ("a", "bc", &[6, 3], Some(1), 0),
    ("ca", "\nb", &[3, 9, 2], Some(2), 1),
    ("cb", " c", &[3, 10, 3], Some(2), 1),
    // White space at the end of the context moves to the continuation. By offsets only where a token spans the seam.
    ("c ", "a", &[3, 8], Some(1), 1),
    ("c  ", "a", &[3, 4, 8], Some(1), 2),
    ("c\n", "a", &[3, 5, 1], Some(1), 2),
];

fn compare_seams(tokenizer: &Tokenizer) {
    for (context, continuation, joint, by_length, by_offsets) in SEAMS {
        let pair = encode_by_length(tokenizer, context, continuation).ok();
        let wanted = by_length.map(|start| Pair { tokens: joint.to_vec(), start });
        assert_eq!(pair, wanted, "by length: {context:?} + {continuation:?}");
        let prefix: &[u32] = if *by_offsets == 0 { &[0] } else { &[] };
        let wanted = Pair { tokens: [prefix, *joint].concat(), start: (*by_offsets).max(1) };
        let pair = encode_by_offsets(tokenizer, context, continuation).unwrap_or_else(|e| panic!("{context:?}: {e}"));
        assert_eq!(pair, wanted, "by offsets: {context:?} + {continuation:?}");
    }
}

#[test]
fn a_token_that_spans_the_seam_belongs_to_the_continuation() {
    compare_seams(&bytes(false));
}

/// `trim_offsets`, as GPT-NeoX and RoBERTa have it, takes spaces at a token's edges out of its offsets.
#[test]
fn a_seam_is_seen_although_the_file_trims_offsets() {
    compare_seams(&bytes(true));
}

/// All of such a context moves to the continuation. The peer then stops at `assert len(context_enc) > 0`.
#[test]
fn a_context_of_white_space_leaves_no_pair_without_context_tokens() {
    let tokenizer = bytes(false);
    for (context, offsets) in [(" ", &[0, 8][..]), ("\n", &[5, 1][..]), (" \n", &[4, 5, 1][..])] {
        assert_eq!(encode_by_length(&tokenizer, context, "a").ok(), None, "{context:?}");
        let pair = encode_by_offsets(&tokenizer, context, "a").unwrap();
        assert_eq!((pair.tokens.as_slice(), pair.start), (offsets, offsets.len() - 1), "{context:?}");
    }
    let tokenizer = open(&words(BOS), &[("tokenizer_config.json", NAMED)]);
    for rule in RULES {
        assert_eq!(rule(&tokenizer, " ", "the").unwrap(), Pair { tokens: vec![1, 3], start: 1 });
    }
}

/// Pieces of random texts, between slashes.
const PIECES: &str = "the/ the/ cat/sat/ on/ mat/./,/\n/\n\n/ /  /\t/Question:/ Answer:/ A/B/ 42/2016/é/ ünï/你好/🙂/\
                      don't/ I'll/<b>/(x)/\u{a0}/the the/ing/ s/<|endoftext|>/\r\n";

#[test]
fn any_split_of_any_text_gives_the_joint_tokens() {
    let pieces: Vec<&str> = PIECES.split('/').collect();
    for name in ["gpt2", "gpt_neox"] {
        let tokenizer = Tokenizer::open(&fixtures().join("random_ckpt").join(name)).unwrap_or_else(|e| panic!("{e}"));
        let mut state = 20_240_101_u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % n
        };
        let (mut splits, mut agree, mut refused, mut differ) = (0, 0, 0, 0);
        for _ in 0..400 {
            let count = 2 + below(12);
            let text: String = (0..count).map(|_| pieces[below(pieces.len())]).collect();
            let spans = tokenizer.encode_spans(&text).unwrap();
            let joint = tokenizer.encode(&text).unwrap();
            for _ in 0..8 {
                let at = below(text.chars().count() + 1);
                let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
                let (context, continuation) = text.split_at(at);
                if context.is_empty() || continuation.is_empty() {
                    continue;
                }
                splits += 1;
                let place = format!("{name}: {context:?} + {continuation:?}");
                let offsets = encode_by_offsets(&tokenizer, context, continuation).unwrap_or_else(|e| panic!("{e}"));
                assert!((1..offsets.tokens.len()).contains(&offsets.start), "{place}: {offsets:?}");
                let all_of_context = spans[0].1 > context.len();
                let prefix: Vec<u32> = tokenizer.prefix().into_iter().filter(|_| all_of_context).collect();
                assert_eq!(offsets.tokens, [prefix.as_slice(), joint.as_slice()].concat(), "{place}");

                let kept = python::rstrip(context);
                if kept.is_empty() {
                    continue;
                }
                let own = tokenizer.encode(kept).unwrap();
                let length = encode_by_length(&tokenizer, context, continuation);
                assert_eq!(length.is_err(), own.len() >= joint.len(), "{place}");
                match length {
                    Err(_) => refused += 1,
                    Ok(pair) => {
                        assert_eq!((&pair.tokens, pair.start), (&joint, own.len()), "{place}");
                        let clean = kept == context && joint.starts_with(&own);
                        assert!(!clean || pair == offsets, "{place}: {pair:?} {offsets:?}");
                        agree += usize::from(clean);
                        differ += usize::from(pair != offsets);
                    }
                }
            }
        }
        assert!(splits > 2500 && agree > 1000 && refused > 100 && differ > 500, "{splits} {agree} {refused} {differ}");
    }
}
