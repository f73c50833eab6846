//! Really trained models in llama2.c's format, against the same weights in Hugging Face's.

use std::path::Path;

use veval::ckpt::discover;
use veval::kernels::cpu::Cpu;
use veval::model::{FloatType, Loaded, to_folder};
use veval::text::Tokenizer;

use crate::shared::shared_data;
use crate::support::{first_largest, open, run};

const TEXTS: [&str; 6] =
    ["Once there was a dog", " two  spaces", "", "line\nbreak\ttab", "caf\u{e9} \u{1f600} \u{4e2d}", "<s> and </s>"];

fn nll(model: &Loaded<Cpu>, tokens: &[u32]) -> f64 {
    let (logits, _) = run(model, tokens, &[], &[]);
    let rows = logits.values.chunks(logits.shape[1]);
    let loss = |(row, next): (&[f32], &u32)| {
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        sum.ln() - f64::from(row[*next as usize])
    };
    rows.zip(&tokens[1..]).map(loss).sum::<f64>() / (tokens.len() - 1) as f64
}

fn greedy(model: &Loaded<Cpu>, count: usize) -> Vec<u32> {
    let mut tokens = vec![1];
    for _ in 0..count {
        let (logits, _) = run(model, &tokens, &[], &[]);
        tokens.push(first_largest(&logits.values[logits.values.len() - logits.shape[1]..]) as u32);
    }
    tokens
}

#[test]
fn stories_are_the_same_model_in_both_formats() {
    let Some(data) = shared_data() else { return };
    let (own, theirs) = (data.join("tiny-lm-stories260k/stories260K.bin"), data.join("tiny-lm-stories260k-hf"));
    let (a, b) = (open(&own, Cpu::default()), open(&theirs, Cpu::default()));
    assert_eq!(a.fingerprint, b.fingerprint);
    let tokens = greedy(&a, 30);
    assert_eq!(run(&a, &tokens, &[], &[]).0, run(&b, &tokens, &[], &[]).0);
    // The header cannot tell that these matrices are transposed; the loss does.
    let transposed = open(&data.join("tiny-lm-stories260k/stories260K.transposed.bin"), Cpu::default());
    let (good, bad) = (nll(&a, &tokens), nll(&transposed, &tokens));
    println!("mean loss {good}, transposed {bad}");
    assert!(good < 1.5 && bad > 5.0, "{good} {bad}");

    let (a, b) = (Tokenizer::open(&own).unwrap(), Tokenizer::open(&theirs).unwrap());
    for text in TEXTS {
        assert_eq!(a.encode(text).unwrap(), b.encode(text).unwrap(), "{text:?}");
    }
    // The tokenizer beside the models is none.
    let names: Vec<String> = discover(&data.join("tiny-lm-stories260k")).unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["stories260K", "stories260K.transposed"]);

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("stories");
    to_folder(&own, &out, FloatType::F32).unwrap();
    assert_eq!(open(&out, Cpu::default()).fingerprint, open(&own, Cpu::default()).fingerprint);
    let written = Tokenizer::open(&out).unwrap();
    for text in TEXTS {
        assert_eq!(a.encode(text).unwrap(), written.encode(text).unwrap(), "{text:?}");
    }
}

/// As many heads of keys as of queries, and another vocabulary; the ids are those that its data card names.
#[test]
fn dreams_begin_as_their_card_says() {
    let Some(data) = shared_data() else { return };
    let path = data.join("tiny-lm-aidreams260k/aidreams260K.bin");
    let tokens = greedy(&open(&path, Cpu::default()), 19);
    assert_eq!(
        tokens,
        [1, 319, 459, 355, 260, 275, 429, 339, 315, 374, 327, 446, 262, 421, 392, 275, 280, 269, 440, 270]
    );
    let text = Tokenizer::open(&path).unwrap().decode(&tokens).unwrap();
    assert!(text.contains("Echoes of"), "{text:?}");
}

/// Signed bytes in groups, made here of the same weights: the loss hardly changes.
#[test]
fn grouped_bytes_are_nearly_the_same_model() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let from = data.join("tiny-lm-stories260k");
    for (version, most) in [(1, 0.0), (2, 0.02)] {
        let path = folder.path().join(format!("version{version}.bin"));
        std::fs::write(&path, exported(&from.join("stories260K.bin"), version)).unwrap();
        let (a, b) = (open(&from.join("stories260K.bin"), Cpu::default()), open(&path, Cpu::default()));
        let tokens = greedy(&a, 30);
        let difference = (nll(&a, &tokens) - nll(&b, &tokens)).abs();
        println!("version {version}: {}, mean loss differs by {difference}", b.dtypes.join(", "));
        assert!(difference <= most, "version {version}: {difference}");
        assert_eq!(a.fingerprint == b.fingerprint, version == 1);
    }
}

/// A file of version 0 written as export.py writes versions 1 and 2.
fn exported(legacy: &Path, version: u32) -> Vec<u8> {
    const GROUP: usize = 64;
    let bytes = std::fs::read(legacy).unwrap();
    let numbers: Vec<f32> = bytes[28..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    // width 64, MLP 172, 5 layers, key width 32, 512 tokens: embedding, attention norms, wq, wk, wv, wo, MLP norms, w1,
    // w2, w3, final norm.
    let sizes = [512 * 64, 320, 5 * 4096, 5 * 2048, 5 * 2048, 5 * 4096, 320, 5 * 11008, 5 * 11008, 5 * 11008, 64];
    let layers = [1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 1];
    let mut pieces = Vec::new();
    let mut at = 0;
    for size in sizes {
        pieces.push(&numbers[at..at + size]);
        at += size;
    }
    let mut out: Vec<u8> = [0x616b_3432u32, version].iter().flat_map(|x| x.to_le_bytes()).collect();
    out.extend(&bytes[..28]);
    out.push(1);
    out.extend((GROUP as u32).to_le_bytes());
    out.resize(256, 0);
    let floats = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for norm in [1, 6, 10] {
        out.extend(floats(pieces[norm]));
    }
    for matrix in [0, 2, 3, 4, 5, 7, 8, 9] {
        if version == 1 {
            out.extend(floats(pieces[matrix]));
            continue;
        }
        for one in pieces[matrix].chunks(sizes[matrix] / layers[matrix]) {
            let scales: Vec<f32> =
                one.chunks(GROUP).map(|group| group.iter().fold(0f32, |max, x| max.max(x.abs())) / 127.0).collect();
            let quantised = one.chunks(GROUP).zip(&scales).flat_map(|(group, scale)| {
                group.iter().map(move |x| (x / scale).round_ties_even() as i8).map(i8::cast_unsigned)
            });
            out.extend(quantised);
            out.extend(floats(&scales));
        }
    }
    out
}
