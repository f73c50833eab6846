//! Files made here: every layout, and headers that lie.

use std::path::Path;

use super::Llama2cFile;
use super::header::{Header, Version};
use crate::ckpt::pieces::Vocabulary;
use crate::ckpt::{Config, Dtype, WeightFiles, widen};

/// width 4, MLP 6, 2 layers, 2 heads of width 2, 1 key head, 5 tokens, context 3
const SIZES: [i32; 7] = [4, 6, 2, 2, 1, 5, 3];

fn ints(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The header of version 1 or 2.
fn later(version: i32, sizes: [i32; 7], tied: u8, group: i32) -> Vec<u8> {
    let mut bytes = ints(&[0x616b_3432, version]);
    bytes.extend(ints(&sizes));
    bytes.push(tied);
    bytes.extend(ints(&[group]));
    bytes.resize(256, 0);
    bytes
}

fn opened(folder: &Path, bytes: &[u8]) -> Result<WeightFiles, String> {
    // Open files must not change below those who read them.
    let path = folder.join(format!("{}.bin", std::fs::read_dir(folder).unwrap().count()));
    std::fs::write(&path, bytes).unwrap();
    WeightFiles::open(&path).map_err(|error| error.to_string())
}

fn values(files: &WeightFiles, name: &str) -> Vec<f32> {
    widen(Dtype::F32, &files.read_bytes(name).unwrap())
}

/// Elements of each matrix and norm, in the order of version 1.
const LATER: [usize; 18] = [4, 4, 4, 4, 4, 20, 16, 16, 8, 8, 8, 8, 16, 16, 24, 24, 24, 24];

#[test]
fn all_versions_give_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    // Every tensor counts on: whatever is read has its own numbers. Up projections and the head close the later files.
    let mut next = 0f32;
    let mut count = |n: usize| -> Vec<f32> {
        (0..n)
            .map(|_| {
                next += 1.0;
                next
            })
            .collect()
    };
    let pieces: Vec<Vec<f32>> = LATER.iter().chain(&[24, 24, 20]).map(|n| count(*n)).collect();
    let plain: Vec<u8> = pieces.iter().flat_map(|piece| floats(piece)).collect();
    let one = opened(folder.path(), &[later(1, SIZES, 0, 0), plain].concat()).unwrap();
    assert_eq!(one.tensors().len(), 1 + 2 * 9 + 1 + 1);
    let name = |layer: usize, rest: &str| format!("model.layers.{layer}.{rest}.weight");
    assert_eq!(values(&one, &name(0, "input_layernorm")), pieces[0]);
    assert_eq!(values(&one, &name(1, "post_attention_layernorm")), pieces[3]);
    assert_eq!(values(&one, "model.norm.weight"), pieces[4]);
    assert_eq!(values(&one, &name(1, "mlp.down_proj")), pieces[17]);
    assert_eq!(values(&one, "lm_head.weight"), pieces[20]);
    assert_eq!(one.get("lm_head.weight").unwrap().shape, [5, 4]);
    // Heads of width 2 have one pair: nothing moves.
    assert_eq!(values(&one, &name(0, "self_attn.q_proj")), pieces[6]);

    // Version 0: another order, two tables of angles before the head.
    let at = |i: usize| floats(&pieces[i]);
    let order = [5, 0, 1, 6, 7, 8, 9, 10, 11, 12, 13, 2, 3, 14, 15, 16, 17, 18, 19, 4];
    let mut legacy = ints(&[4, 6, 2, 2, 1, -5, 3]);
    legacy.extend(order.iter().flat_map(|i| at(*i)));
    legacy.extend(floats(&[9.0; 6]));
    legacy.extend(at(20));
    let zero = opened(folder.path(), &legacy).unwrap();
    for name in one.tensors().keys() {
        assert_eq!(values(&one, name), values(&zero, name), "{name}");
    }

    // Version 2: groups of 4 with a scale; norms stay as they are.
    let mut grouped = later(2, SIZES, 0, 4);
    let group = |piece: &Vec<f32>| {
        let mut bytes: Vec<u8> = (0..piece.len()).map(|i| (i as i8 - 3).cast_unsigned()).collect();
        bytes.extend(floats(&(0..piece.len() / 4).map(|i| 0.5 + i as f32).collect::<Vec<_>>()));
        bytes
    };
    grouped.extend(pieces[..5].iter().flat_map(|piece| floats(piece)));
    grouped.extend(pieces[5..].iter().flat_map(group));
    let two = opened(folder.path(), &grouped).unwrap();
    let key = two.get(&name(0, "self_attn.k_proj")).unwrap();
    assert_eq!((key.shape.clone(), key.dtype, key.widened_from), (vec![2, 4], Some(Dtype::F32), Some("int8")));
    assert_eq!(values(&two, &name(0, "self_attn.k_proj")), [-1.5, -1.0, -0.5, 0.0, 1.5, 3.0, 4.5, 6.0]);
    assert_eq!(values(&two, "model.norm.weight"), pieces[4]);

    // All scales at the end, as an early exporter wrote them: numbers below zero where scales should be.
    let mut early = later(2, SIZES, 0, 4);
    early.extend(pieces[..5].iter().flat_map(|piece| floats(piece)));
    early.extend(pieces[5..].iter().flat_map(|piece| vec![0xff; piece.len()]));
    early.extend(floats(&vec![1.0; pieces[5..].iter().map(Vec::len).sum::<usize>() / 4]));
    let early = opened(folder.path(), &early).unwrap();
    let message = early.read_bytes("model.embed_tokens.weight").unwrap_err().to_string();
    assert!(message.contains("early versions of export.py"), "{message}");
}

#[test]
fn rows_that_turn_together_are_parted() {
    let folder = tempfile::tempdir().unwrap();
    // One layer, two heads of width 4: rows 0..8 of the query hold their number.
    let sizes = [8, 1, 1, 2, 2, 3, 2];
    let query: Vec<f32> = (0..64).map(|i| (i / 8) as f32).collect();
    let mut bytes = later(1, sizes, 1, 0);
    bytes.extend(floats(&[0.0; 8 * 3 + 24]));
    bytes.extend(floats(&query));
    bytes.extend(floats(&[0.0; 64 * 3 + 24]));
    let files = opened(folder.path(), &bytes).unwrap();
    let rows: Vec<f32> = values(&files, "model.layers.0.self_attn.q_proj.weight").into_iter().step_by(8).collect();
    assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    assert!(files.get("lm_head.weight").is_none());
}

#[test]
fn hostile_headers_are_refused_in_words() {
    let with = |at: usize, size: i32| {
        let mut sizes = SIZES;
        sizes[at] = size;
        sizes
    };
    let header = |bytes: &[u8]| Header::read(bytes).map_err(|error| error.to_string());
    assert_eq!(header(&later(2, SIZES, 1, 64)).unwrap().version, Version::Grouped(64));
    for (bytes, expected) in [
        (vec![], "expected a header, found 0 bytes"),
        (ints(&SIZES[..6]), "expected a header, found 24 bytes"),
        (later(1, SIZES, 1, 0)[..36].to_vec(), "expected a header, found 36 bytes"),
        (later(3, SIZES, 1, 0), "expected version 0, 1 or 2, found 3"),
        (later(-1, SIZES, 1, 0), "expected version 0, 1 or 2, found 4294967295"),
        (later(2, SIZES, 1, 0), "expected groups of 1 to 16777216 weights, found Some(0)"),
        (ints(&with(0, 0)), "width: expected a number from 1 to 16777216, found 0"),
        (ints(&with(2, i32::MAX)), "layers: expected a number from 1 to 4096, found 2147483647"),
        (ints(&with(5, i32::MIN)), "vocabulary: expected a number from 1 to 16777216, found 2147483648"),
        (later(1, with(5, -5), 1, 0), "vocabulary: expected a number from 1 to 16777216, found 4294967291"),
        (ints(&with(3, 3)), "found width 4, heads 3 and 1"),
        (ints(&with(3, 4)), "found width 4, heads 4 and 1"),
        (ints(&with(4, 3)), "found width 4, heads 2 and 3"),
    ] {
        let message = header(&bytes).unwrap_err();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let folder = tempfile::tempdir().unwrap();
    let largest = later(1, [1 << 24, 1 << 24, 4096, 1, 1, 1 << 24, 1 << 24], 0, 0);
    let message = opened(folder.path(), &largest).unwrap_err();
    assert!(message.contains("bytes as the header says, found 256"), "{message}");
    let message = opened(folder.path(), &later(2, SIZES, 1, 7)).unwrap_err();
    assert!(message.contains("expected"), "{message}");
    assert!(Config::read(&folder.path().join("0.bin")).is_err());
}

fn vocabulary(folder: &Path, bytes: &[u8]) -> Result<Vocabulary, String> {
    let mut sizes = SIZES;
    sizes[5] = 4;
    let path = folder.join("model.bin");
    let mut model = later(1, sizes, 1, 0);
    model.extend(floats(&vec![0.0; LATER.iter().sum::<usize>() - 20 + 16 + 48]));
    std::fs::write(&path, model).unwrap();
    std::fs::write(folder.join("tok4.bin"), bytes).unwrap();
    Llama2cFile::open(&path).unwrap().vocabulary().map_err(|error| error.to_string())
}

#[test]
fn vocabularies_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let piece = |score: f32, text: &[u8]| [floats(&[score]), ints(&[text.len() as i32]), text.to_vec()].concat();
    let special = [ints(&[7]), piece(0.0, b"<unk>"), piece(0.0, b"\n<s>\n"), piece(0.0, b"\n</s>\n")].concat();
    let good = vocabulary(folder.path(), &[special.clone(), piece(-1.0, b" a")].concat()).unwrap();
    assert_eq!(good.tokenizer["model"]["vocab"]["\u{2581}a"], 3);
    assert_eq!(good.config["eos_token"], "</s>");
    for (rest, expected) in [
        (vec![], "expected the model's 4 pieces, found 3"),
        ([piece(-1.0, b"a"), piece(-2.0, b"b")].concat(), "expected the model's 4 pieces, found 5"),
        (vec![1, 2, 3], "piece 3: expected score and length, found 3 bytes"),
        ([floats(&[0.0]), ints(&[-1])].concat(), "piece 3: expected a score and at most 4096 bytes"),
        ([floats(&[0.0]), ints(&[9]), b"abc".to_vec()].concat(), "found 0 and 9"),
        (piece(f32::NAN, b"a"), "found NaN and 1"),
        (piece(0.0, &[0xff]), "piece 3: expected UTF-8"),
    ] {
        let message = vocabulary(folder.path(), &[special.clone(), rest].concat()).err().unwrap();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let message = vocabulary(folder.path(), &[ints(&[1]), piece(0.0, b"a")].concat()).err().unwrap();
    assert!(message.contains("piece 0: expected <unk>, found \"a\""), "{message}");
}
