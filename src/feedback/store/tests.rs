//! Writing, going on after a kill, reading, refusing.

use std::path::Path;

use super::*;
use crate::ckpt::{Dtype, WeightFiles};
use crate::error::Result;
use crate::feedback::{ProjectedModule, Projection, Scale, Signs};

/// Numbers without a pattern, between -1 and 1.
pub(super) fn wild(n: usize, seed: u64) -> Vec<f32> {
    let mut pcg = crate::util::numpy_pcg64::Pcg64::new(seed);
    (0..n).map(|_| (pcg.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Two modules of 3 x 3 numbers: an odd row of 18.
pub(super) fn header(dtype: Element) -> Header {
    let module = |name: &str| ProjectedModule { name: name.to_owned(), out: 40, input: 30, shape: [3, 3] };
    let modules = [module("layers.0.mlp.up_proj"), module("layers.0.mlp.down_proj")];
    Header {
        layout: Layout::projected(&modules, Projection::per_module(3, Scale::Jl, Signs::Pcg64), dtype),
        normalizer: Normalizer::None,
        loss_reduction: Reduction::Sum,
        per_token: false,
        also: Vec::new(),
        whitening: None,
        sign: Sign::GradientOfLoss,
        model: "blake3:aa".to_owned(),
        tokenizer: "blake3:bb".to_owned(),
        numerics: "cpu/3".to_owned(),
    }
}

pub(super) const DIM: usize = 18;

/// Appends rows `from..to` of `values`, whose items are numbered in tens.
fn append(writer: &mut GradWriter, values: &[f32], from: usize, to: usize) -> Result<()> {
    let row = |row: usize| GradRow {
        id: row as i64 * 10,
        loss: row as f32 + 0.5,
        n_tokens: row as i32 + 1,
        position: None,
        values: &values[row * DIM..][..DIM],
    };
    writer.append(&(from..to).map(row).collect::<Vec<_>>())
}

/// A finished store with shards of the sizes.
pub(super) fn filled(folder: &Path, dtype: Element, values: &[f32], shards: &[usize]) -> GradStore {
    let mut writer = GradWriter::open(folder, &header(dtype)).unwrap();
    let mut from = 0;
    for rows in shards {
        append(&mut writer, values, from, from + rows).unwrap();
        writer.flush().unwrap();
        from += rows;
    }
    writer.finish().unwrap();
    GradStore::open(folder).unwrap()
}

fn rounded(dtype: Element, value: f32) -> f32 {
    match dtype {
        Element::F16 => half::f16::from_f32(value).to_f32(),
        Element::Bf16 => half::bf16::from_f32(value).to_f32(),
        Element::F32 => value,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The message of what must fail.
fn refused<T>(result: Result<T>) -> String {
    result.err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

#[test]
fn rows_come_back_rounded_once() {
    for dtype in Element::ALL {
        let folder = tempfile::tempdir().unwrap();
        let values = wild(11 * DIM, 1);
        let store = filled(folder.path(), dtype, &values, &[4, 1, 6]);
        assert_eq!((store.len(), store.is_complete(), store.saturated()), (11, true, 0));
        assert_eq!(store.header(), Some(&header(dtype)));
        let wanted: Vec<f32> = values.iter().map(|value| rounded(dtype, *value)).collect();
        for (from, to) in [(0, 11), (3, 6), (5, 5), (10, 11)] {
            assert_eq!(store.rows(from..to).unwrap(), wanted[from as usize * DIM..to as usize * DIM], "{dtype:?}");
        }
        for row in 0..11usize {
            let info = store.info(row as u64).unwrap();
            let item = info.item.unwrap();
            assert_eq!((info.row, info.id, item.loss), (row as u64, row as i64 * 10, row as f32 + 0.5));
            assert_eq!(item.n_tokens, row as i32 + 1);
            let own = &values[row * DIM..][..DIM];
            let norm = own.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            assert!((f64::from(item.norm) - norm).abs() < 1e-6);
        }
        store.verify().unwrap();
        assert!(refused(store.rows(5..12)).contains("expected rows below 11, found 5 to 12"));
        assert!(refused(store.info(11)).contains("expected a row below 11, found 11"));
    }
}

#[test]
fn a_shard_is_a_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    let values = wild(5 * DIM, 2);
    filled(folder.path(), Element::Bf16, &values, &[5]);
    let bytes = std::fs::read(folder.path().join("grads-00000.safetensors")).unwrap();
    // By the reader of checkpoints.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("model.safetensors"), &bytes).unwrap();
    let tensors = WeightFiles::open(other.path()).unwrap();
    let grads = tensors.get("grads").unwrap();
    assert_eq!((grads.dtype, grads.shape.as_slice()), (Some(Dtype::Bf16), &[5, DIM][..]));
    let wanted: Vec<u8> = values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect();
    assert_eq!(tensors.read_bytes("grads").unwrap(), wanted);
    assert_eq!(tensors.read_bytes("row_id").unwrap()[8..16], 10i64.to_le_bytes());
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let texts = &header["__metadata__"];
    assert!(texts.as_object().unwrap().values().all(serde_json::Value::is_string), "{texts}");
    assert_eq!((&texts["model"], &texts["loss_reduction"]), (&"blake3:aa".into(), &"sum".into()));
    assert!(texts["projection"].as_str().unwrap().contains("\"signs\":\"pcg64\""), "{texts}");
    let offset = |name: &str| header[name]["data_offsets"][0].as_u64().unwrap();
    assert_eq!((length % 8, offset("row_id") % 8, offset("grads") % 4), (0, 0, 0));
}

/// A state in which a kill may leave a store, and the rows that are there afterwards.
type Torn = (&'static str, fn(&Path), u64);

#[test]
fn goes_on_from_every_torn_state() {
    const SECOND: &str = "grads-00001.safetensors";
    let states: [Torn; 6] = [
        ("nothing happened", |_| (), 7),
        ("a neighbour of a shard", |f| std::fs::write(f.join(".grads-00002.safetensors.77.tmp"), "x").unwrap(), 7),
        ("a neighbour of the index", |f| std::fs::write(f.join(".index.json.77.tmp"), "{").unwrap(), 7),
        (
            "a shard that the index does not name",
            |f| std::fs::copy(f.join(SECOND), f.join("grads-00002.safetensors")).map(drop).unwrap(),
            7,
        ),
        (
            "a last shard that is cut",
            |f| {
                let bytes = std::fs::read(f.join(SECOND)).unwrap();
                std::fs::write(f.join(SECOND), &bytes[..bytes.len() - 1]).unwrap();
            },
            4,
        ),
        (
            "a last shard with other content",
            |f| {
                let mut bytes = std::fs::read(f.join(SECOND)).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(f.join(SECOND), &bytes).unwrap();
            },
            4,
        ),
    ];
    let values = wild(12 * DIM, 3);
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path(), Element::F16, &values, &[4, 3, 5]);
    for (name, tear, rows) in states {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = GradWriter::open(folder.path(), &header(Element::F16)).unwrap();
        append(&mut writer, &values, 0, 4).unwrap();
        writer.flush().unwrap();
        append(&mut writer, &values, 4, 7).unwrap();
        writer.flush().unwrap();
        append(&mut writer, &values, 7, 9).unwrap();
        assert_eq!(writer.rows(), 9);
        // Two rows are still in memory.
        drop(writer);
        assert!(!GradStore::open(folder.path()).unwrap().is_complete());
        tear(folder.path());
        let mut writer = GradWriter::open(folder.path(), &header(Element::F16)).unwrap();
        assert_eq!(writer.rows(), rows, "{name}");
        if rows < 7 {
            append(&mut writer, &values, rows as usize, 7).unwrap();
            writer.flush().unwrap();
        }
        append(&mut writer, &values, 7, 12).unwrap();
        writer.finish().unwrap();
        assert_eq!(names(folder.path()), names(whole.path()), "{name}");
        for file in names(whole.path()) {
            let read = |folder: &Path| std::fs::read(folder.join(&file)).unwrap();
            assert!(read(folder.path()) == read(whole.path()), "{name}: {file} differs");
        }
    }
}

#[test]
fn a_finished_store_takes_more() {
    let folder = tempfile::tempdir().unwrap();
    let values = wild(9 * DIM, 4);
    filled(folder.path(), Element::F32, &values, &[5]);
    let mut writer = GradWriter::open(folder.path(), &header(Element::F32)).unwrap();
    let second = refused(GradWriter::open(folder.path(), &header(Element::F32)));
    assert!(second.contains("found another veval at work"), "{second}");
    append(&mut writer, &values, 5, 9).unwrap();
    writer.finish().unwrap();
    assert_eq!(GradStore::open(folder.path()).unwrap().rows(0..9).unwrap(), values);
}

#[test]
fn full_shards_are_written_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let dim = 1 << 21;
    let module = Module { name: "m".to_owned(), start: 0, end: dim, shape: [1, dim], params: None };
    let mut wide = header(Element::F32);
    wide.layout = Layout { dtype: Element::F32, modules: vec![module], projection: ProjectionRecord::None };
    let mut writer = GradWriter::open(folder.path(), &wide).unwrap();
    let row = vec![0.5; dim];
    // Four rows have 32 MiB.
    let rows: Vec<_> = (0..5).map(|id| GradRow { id, loss: 1.0, n_tokens: 1, position: None, values: &row }).collect();
    writer.append(&rows).unwrap();
    assert_eq!(writer.rows(), 5);
    drop(writer);
    assert_eq!(GradWriter::open(folder.path(), &wide).unwrap().rows(), 4);
}

/// What must be said, and the change that it is about.
type Change = (&'static str, fn(&mut Header));

#[test]
fn other_rows_are_refused_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), Element::F16, &wild(2 * DIM, 5), &[2]);
    let cases: [Change; 8] = [
        ("model: expected model \"blake3:cc\", found \"blake3:aa\"", |h| h.model = "blake3:cc".to_owned()),
        ("tokenizer: expected tokenizer", |h| h.tokenizer = "blake3:cc".to_owned()),
        ("numerics: expected numerics", |h| h.numerics = "cpu/4".to_owned()),
        ("dtype: expected dtype \"f32\", found \"f16\"", |h| h.layout.dtype = Element::F32),
        ("loss_reduction: expected loss_reduction \"mean\", found \"sum\"", |h| h.loss_reduction = Reduction::Mean),
        ("normalizer: expected normalizer {\"kind\":\"adam\"", |h| {
            h.normalizer = Normalizer::Adam { source_sha256: "00".to_owned() };
        }),
        ("projection: expected projection {\"kind\":\"none\"}", |h| h.layout.projection = ProjectionRecord::None),
        ("expected layers.0.attn in columns 9 to 18, found layers.0.mlp.down_proj in columns 9 to 18", |h| {
            h.layout.modules[1].name = "layers.0.attn".to_owned();
        }),
    ];
    for (expected, change) in cases {
        let mut other = header(Element::F16);
        change(&mut other);
        let message = refused(GradWriter::open(folder.path(), &other));
        assert!(message.contains(expected) && message.contains("index.json"), "{expected}:\n{message}");
    }
    let mut other = header(Element::F16);
    other.model = "blake3:cc".to_owned();
    other.sign = Sign::Descent;
    let message = refused(GradWriter::open(folder.path(), &other));
    assert_eq!(message.lines().filter(|line| line.contains("expected")).count(), 2, "{message}");
    GradStore::open(folder.path()).unwrap().verify().unwrap();
}

#[test]
fn faulty_items_are_named_and_none_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = GradWriter::open(folder.path(), &header(Element::F16)).unwrap();
    let good = vec![0.25; DIM];
    let mut nan = good.clone();
    nan[10] = f32::NAN;
    let mut infinite = good.clone();
    infinite[0] = f32::NEG_INFINITY;
    let row = |id, loss, values| GradRow { id, loss, n_tokens: 3, position: None, values };
    let rows = [
        row(7, 1.0, &good),
        row(8, 1.0, &nan),
        row(9, 1.0, &infinite),
        row(10, f32::INFINITY, &good),
        row(11, 1.0, &good[1..]),
        GradRow { n_tokens: -1, ..row(12, 1.0, &good) },
    ];
    let message = refused(writer.append(&rows));
    for expected in [
        "item 8: expected a finite gradient, found NaN in layers.0.mlp.down_proj",
        "item 9: expected a finite gradient, found -inf in layers.0.mlp.up_proj",
        "item 10: expected a finite loss, found inf",
        "item 11: expected a gradient of 18 numbers, found 17",
        "item 12: expected a number of tokens, found -1",
    ] {
        assert!(message.contains(expected), "{expected}:\n{message}");
    }
    assert_eq!(writer.rows(), 0);
    let large = vec![1e6; DIM];
    writer.append(&[row(13, 1.0, &large)]).unwrap();
    writer.finish().unwrap();
    let store = GradStore::open(folder.path()).unwrap();
    assert_eq!(store.rows(0..1).unwrap(), vec![65_504.0; DIM]);
    assert_eq!(store.saturated(), DIM as u64, "what was clamped is counted");
}

/// Replaces a piece of a text file.
fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn hostile_indexes_are_refused_in_words() {
    let cases = [
        ("veval.grads/1", "veval.grads/2", "expected format veval.grads/1, found \"veval.grads/2\""),
        ("\"per_token\": false", "\"per_token\": true", "expected the tensor position, found none"),
        ("\"rows\": 5", "\"rows\": 6", "rows: expected 5, found 6"),
        ("\"dim\": 18", "\"dim\": 17", "dim: expected 18, found 17"),
        ("\"end\": 9", "\"end\": 10", "module layers.0.mlp.up_proj: expected columns from 0 of shape 3 x 3"),
        ("\"end\": 18", "\"end\": 18446744073709551615", "module layers.0.mlp.down_proj: expected columns from 9"),
        ("\"grads-00000", "\"../grads-00000", "shard 0: expected the name of a file beside the index"),
        ("\"grads-00000", "\"/etc/grads-00000", "shard 0: expected the name of a file beside the index"),
        ("\"row_start\": 2", "\"row_start\": 1", "shard 1: expected row_start 2, found row_start 1"),
        ("\"sha256\": \"", "\"sha256\": \"zz", "shard 0: expected a sha256 of 64 hexadecimal digits"),
        ("\"dtype\": \"f16\"", "\"dtype\": \"f8\"", "unknown variant `f8`"),
        ("grads-00001", "grads-00007", "grads-00007.safetensors: failed to open"),
        ("\"dim\": 3", "\"dim\": -3", "expected an index of gradients"),
        ("{", "[", "expected an index of gradients"),
    ];
    for (from, to, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), Element::F16, &wild(5 * DIM, 6), &[2, 3]);
        edit(&folder.path().join("index.json"), from, to);
        let message = refused(GradStore::open(folder.path()));
        assert!(message.contains(expected), "{to}:\n{message}");
    }
    assert!(refused(GradStore::open(tempfile::tempdir().unwrap().path())).contains("found neither"));
}

#[test]
fn hostile_shards_are_refused_in_words() {
    let with_header = |text: &str, data: usize| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let columns = |grads: &str| {
        format!(
            r#"{{"row_id":{{"dtype":"I64","shape":[5],"data_offsets":[0,40]}},
            "loss":{{"dtype":"F32","shape":[5],"data_offsets":[40,60]}},
            "norm":{{"dtype":"F32","shape":[5],"data_offsets":[60,80]}},
            "n_tokens":{{"dtype":"I32","shape":[5],"data_offsets":[80,100]}},"grads":{grads}}}"#
        )
    };
    let grads = |dtype: &str, shape: &str, offsets: &str| {
        columns(&format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#))
    };
    let good = grads("F16", "[5,18]", "[100,280]");
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("as it should be", with_header(&good, 280), "accepted"),
        ("empty", Vec::new(), "at least 8 bytes, found 0"),
        ("a long header", u64::MAX.to_le_bytes().to_vec(), "found a length of 18446744073709551615"),
        ("no JSON", with_header("{nonsense", 0), "expected a safetensors header"),
        ("cut", with_header(&good, 279), "bytes, found"),
        ("no rows", with_header("{}", 280), "expected the tensor row_id, found none"),
        ("another type", with_header(&grads("F32", "[5,18]", "[100,460]"), 460), "expected grads as F16 [5, 18]"),
        ("backwards", with_header(&grads("F16", "[5,18]", "[280,100]"), 280), "in 280..100"),
        (
            "far away",
            with_header(&grads("F16", "[5,18]", "[18446744073709551435,18446744073709551615]"), 280),
            "bytes, found",
        ),
    ];
    for (name, bytes, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), Element::F16, &wild(5 * DIM, 7), &[5]);
        std::fs::write(folder.path().join("grads-00000.safetensors"), bytes).unwrap();
        let message = refused(GradStore::open(folder.path()));
        assert!(message.contains(expected), "{name}:\n{message}");
    }
}

#[test]
fn damage_is_found_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let values = wild(5 * DIM, 8);
    let store = filled(folder.path(), Element::F16, &values, &[2, 3]);
    let path = folder.path().join("grads-00000.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let message = refused(store.verify());
    assert!(message.contains("grads-00000.safetensors: expected sha256"), "{message}");
    assert!(refused(export(&store, ExportTo::Npy, &folder.path().join("out"))).contains("expected sha256"));
    // A shard that is cut before the last one cannot be made again alone.
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let message = refused(GradWriter::open(folder.path(), &header(Element::F16)));
    assert!(message.contains("grads-00000") && message.contains("collect into another folder"), "{message}");
    // The file shrank after it was opened.
    assert!(refused(store.rows(0..2)).contains("failed to read"));
}
