//! Searching, and the files of others.

use std::path::Path;

use super::query::Query;
use super::tests::{DIM, filled, header, wild};
use super::*;
use crate::feedback::{Scale, Signs};

const ROWS: usize = 500;

/// All scores in f64, best first.
fn brute_force(rows: &[f32], query: &[f32], measure: Measure) -> Vec<(u64, f64)> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let score = |row: &[f32]| match measure {
        Measure::Dot => dot(row, query),
        Measure::Cosine => dot(row, query) / (dot(row, row) * dot(query, query)).sqrt(),
    };
    let mut scores: Vec<(u64, f64)> = rows.chunks(DIM).enumerate().map(|(row, v)| (row as u64, score(v))).collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scores
}

#[test]
fn the_best_are_those_of_brute_force() {
    for dtype in Element::ALL {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path(), dtype, &wild(ROWS * DIM, 11), &[200, 1, 299]);
        let rows = store.rows(0..ROWS as u64).unwrap();
        let queries: Vec<Vec<f32>> = (20..25).map(|seed| wild(DIM, seed)).collect();
        for measure in [Measure::Dot, Measure::Cosine] {
            let found = store.top(&queries, 17, measure, 2).unwrap();
            assert_eq!(found.len(), queries.len());
            for (query, hits) in queries.iter().zip(&found) {
                let wanted = brute_force(&rows, query, measure);
                assert_eq!(hits.len(), 17);
                for (hit, (row, score)) in hits.iter().zip(&wanted) {
                    assert!((f64::from(hit.score) - score).abs() < 2e-6, "{dtype:?} {measure:?}");
                    assert_eq!(hit.row, *row, "{dtype:?} {measure:?}");
                }
            }
        }
    }
}

/// A row is the best match of its own direction, however long others are, only where lengths do not count; and a
/// query that is orthogonal to everything finds nothing.
#[test]
fn planted_rows_and_a_null() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = wild(ROWS * DIM, 12);
    // No row has anything in the last column, but row 321 a little, and row 9 is a long one.
    values.chunks_mut(DIM).for_each(|row| row[DIM - 1] = 0.0);
    values[321 * DIM + DIM - 1] = 0.125;
    values[9 * DIM..10 * DIM].iter_mut().for_each(|value| *value *= 100.0);
    let own = values[42 * DIM..43 * DIM].to_vec();
    let store = filled(folder.path(), Element::F32, &values, &[ROWS]);
    let mut last = vec![0.0; DIM];
    last[DIM - 1] = 1.0;
    let found = store.top(&[last.clone()], 3, Measure::Dot, 1).unwrap();
    let hits: Vec<(u64, f32)> = found[0].iter().map(|hit| (hit.row, hit.score)).collect();
    // Equal scores come in the order of the rows.
    assert_eq!(hits, [(321, 0.125), (0, 0.0), (1, 0.0)]);
    let by_cosine = store.top(std::slice::from_ref(&own), 1, Measure::Cosine, 1).unwrap();
    assert_eq!(by_cosine[0][0].row, 42);
    assert!((by_cosine[0][0].score - 1.0).abs() < 1e-6);
    let by_length = store.top(&[own], ROWS, Measure::Dot, 1).unwrap();
    let place = |row| by_length[0].iter().position(|hit| hit.row == row).unwrap();
    assert!([0, ROWS - 1].contains(&place(9)), "a long row is first or last by the product");
    // Nothing has a direction in common with a zero row, and nothing is divided by zero.
    let none = store.top(&[vec![0.0; DIM]], 2, Measure::Cosine, 1).unwrap();
    assert_eq!(none[0], [Hit { row: 0, score: 0.0 }, Hit { row: 1, score: 0.0 }]);
}

/// Random rows have no top: the best of n cosines is where that of independent directions is.
#[test]
fn nothing_is_found_in_noise() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), Element::F16, &wild(ROWS * DIM, 13), &[ROWS]);
    let queries: Vec<Vec<f32>> = (100..140).map(|seed| wild(DIM, seed)).collect();
    let best = store.top(&queries, ROWS, Measure::Cosine, 2).unwrap();
    let mean: f64 = best.iter().flatten().map(|hit| f64::from(hit.score)).sum::<f64>() / (40 * ROWS) as f64;
    // Cosines of independent directions have mean 0 and variance 1 / dim, and any two of them are uncorrelated.
    assert!(mean.abs() < 4.0 / ((40 * ROWS * DIM) as f64).sqrt(), "{mean}");
    let square: f64 = best.iter().flatten().map(|hit| f64::from(hit.score).powi(2)).sum::<f64>() / (40 * ROWS) as f64;
    assert!((square * DIM as f64 - 1.0).abs() < 0.1, "{square}");
    assert!(best.iter().all(|hits| hits[0].score < 0.9));
}

#[test]
fn neither_threads_nor_blocks_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = wild(ROWS * DIM, 14);
    // Rows that are equal: ties in every list.
    let one = values[..DIM].to_vec();
    values.chunks_mut(DIM).step_by(3).for_each(|row| row.copy_from_slice(&one));
    let store = filled(folder.path(), Element::Bf16, &values, &[77, 123, 300]);
    let values = [wild(DIM, 30), one];
    let queries: Vec<Query<'_>> = values.iter().map(|values| Query { values, length: Some(2.0) }).collect();
    let sorted = |threads, block| -> Vec<Vec<Hit>> {
        let found = store.scan(&queries, 50, threads, block).unwrap();
        found.best.into_iter().map(super::query::Best::sorted).collect()
    };
    let wanted = sorted(1, 1 << 30);
    for threads in [1, 2, 3, 8] {
        for block in [1, 100, 1000, 1 << 20] {
            assert_eq!(sorted(threads, block), wanted, "{threads} threads, blocks of {block}");
        }
    }
}

#[test]
fn faulty_queries_and_rows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), Element::F32, &wild(4 * DIM, 15), &[4]);
    let message = store.top(&[vec![1.0; DIM], vec![1.0; 3], vec![f32::NAN; DIM]], 1, Measure::Dot, 1).unwrap_err();
    let message = message.to_string();
    assert!(message.contains("query 1: expected 18 finite numbers, found 3 numbers"), "{message}");
    assert!(message.contains("query 2: expected 18 finite numbers, found NaN"), "{message}");
    // A NaN that somebody put into a shard.
    let path = folder.path().join("grads-00000.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let row_two = bytes.len() - 2 * DIM * 4;
    bytes[row_two..row_two + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    for threads in [1, 3] {
        for measure in [Measure::Dot, Measure::Cosine] {
            let message = store.top(&[vec![1.0; DIM]], 1, measure, threads).unwrap_err().to_string();
            assert!(message.contains("row 2: expected a finite score"), "{message}");
        }
    }
    assert!(store.top(&[], 3, Measure::Dot, 2).unwrap().is_empty());
    assert_eq!(GradStore::open(folder.path()).unwrap().top(&[vec![0.0; DIM]], 0, Measure::Dot, 2).ok(), None);
}

#[test]
fn stores_are_compared_before_they_are_multiplied() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let values = wild(2 * DIM, 16);
    let store = filled(folders[0].path(), Element::F16, &values, &[2]);
    let finer = filled(folders[1].path(), Element::F32, &values, &[2]);
    store.comparable(&finer).unwrap();
    let mut other = header(Element::F16);
    other.model = "blake3:cc".to_owned();
    other.layout.projection = ProjectionRecord::Rademacher { dim: 3, scale: Scale::RowNorm, signs: Signs::Pcg64 };
    GradWriter::open(folders[2].path(), &other).unwrap().finish().unwrap();
    let message = store.comparable(&GradStore::open(folders[2].path()).unwrap()).unwrap_err().to_string();
    assert!(message.contains("expected model blake3:aa, found blake3:cc"), "{message}");
    assert!(message.contains("\"scale\":\"jl\"") && message.contains("\"scale\":\"row_norm\""), "{message}");
}

#[test]
fn an_exported_index_is_read_as_the_store() {
    for dtype in Element::ALL {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(&folder.path().join("store"), dtype, &wild(9 * DIM, 17), &[4, 5]);
        let out = folder.path().join("index");
        let exported = export(&store, ExportTo::Bergson, &out).unwrap();
        assert_eq!((exported.rows, exported.notes.len()), (9, 2));
        let index = GradStore::open(&out).unwrap();
        assert_eq!(index.rows(0..9).unwrap(), store.rows(0..9).unwrap());
        assert_eq!(index.layout().projection, store.layout().projection);
        store.comparable(&index).unwrap();
        let queries = [wild(DIM, 18)];
        let top = |store: &GradStore| store.top(&queries, 4, Measure::Cosine, 2).unwrap();
        assert_eq!(top(&index), top(&store));
        assert_eq!(index.info(3).unwrap(), RowInfo { row: 3, id: 3, item: None });
        let again = export(&store, ExportTo::Bergson, &out).unwrap_err().to_string();
        assert!(again.contains("expected a name that is free"), "{again}");
        // And once more through an index.
        export(&index, ExportTo::Bergson, &folder.path().join("twice")).unwrap();
        for name in ["gradients.bin", "info.json", "processor_config.yaml"] {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&out), read(&folder.path().join("twice")), "{name}");
        }
    }
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    std::fs::write(folder.join(name), content).unwrap();
}

#[test]
fn old_and_foreign_indexes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // As Bergson 0.5 wrote it.
    let info = r#"{"num_grads": 2, "dtype": {"names": ["b", "a"], "formats": ["(4,)<f2", "(1,)<f2"], "itemsize": 10},
        "grad_sizes": {"b": 4, "a": 1}, "base_dtype": "<f2"}"#;
    write(path, "info.json", info.as_bytes());
    write(path, "processor_config.yaml", b"projection_dim: 2\nreshape_to_square: false\nprojection_type: rademacher\n");
    let bits: Vec<u8> = (1..=10).flat_map(|n| half::f16::from_f32(n as f32).to_le_bytes()).collect();
    write(path, "gradients.bin", &bits);
    let index = GradStore::open(path).unwrap();
    assert_eq!(index.rows(1..2).unwrap(), [6.0, 7.0, 8.0, 9.0, 10.0]);
    let modules = &index.layout().modules;
    assert_eq!((modules[0].name.as_str(), modules[0].columns(), modules[0].shape), ("b", 0..4, [2, 2]));
    assert_eq!((modules[1].name.as_str(), modules[1].columns()), ("a", 4..5));
    let pcg64 = ProjectionRecord::Rademacher { dim: 2, scale: Scale::RowNorm, signs: Signs::Pcg64 };
    assert_eq!(index.layout().projection, pcg64);
    write(path, "info.json", info.replace(", \"base_dtype\": \"<f2\"", "").as_bytes());
    assert_eq!(GradStore::open(path).unwrap().rows(1..2).unwrap(), index.rows(1..2).unwrap());
    // Normal projections are not ours to make again, and are not taken for ours.
    write(path, "processor_config.yaml", b"projection_dim: 2\nprojection_type: normal\n");
    let foreign = GradStore::open(path).unwrap();
    assert!(matches!(foreign.layout().projection, ProjectionRecord::Bergson { .. }));
    assert!(index.comparable(&foreign).is_err());
    write(path, "processor_config.yaml", b"projection_dim: 2\nprojection_type: rademacher\nprojection_version: 2\n");
    let philox = GradStore::open(path).unwrap().layout().projection.clone();
    assert_eq!(philox, ProjectionRecord::Rademacher { dim: 2, scale: Scale::RowNorm, signs: Signs::Philox });

    let cases: [(&str, &str, &str); 7] = [
        ("info.json", "{\"num_grads\": 2}", "expected the description of an index of Bergson's"),
        ("info.json", "{\"num_grads\": 2, \"grad_sizes\": {\"a\": 5}, \"base_dtype\": \"int8\"}", "found \"int8\""),
        ("info.json", "{\"num_grads\": 2, \"grad_sizes\": {\"a\": -5}, \"base_dtype\": \"<f2\"}", "module a"),
        ("info.json", "{\"num_grads\": 2, \"grad_sizes\": {}, \"base_dtype\": \"<f2\"}", "at least one module"),
        (
            "info.json",
            "{\"num_grads\": 9223372036854775808, \"grad_sizes\": {\"a\": 5}, \"base_dtype\": \"<f2\"}",
            "rows of 10 bytes, found 20 bytes",
        ),
        (
            "info.json",
            "{\"attribute_tokens\": true, \"num_grads\": 2, \"grad_sizes\": {\"a\": 5}, \"base_dtype\": \"<f2\"}",
            "offsets.npy: failed to open",
        ),
        ("processor_config.yaml", "projection_dim: 2\n  nested: 3\n", "line 2: expected a setting"),
    ];
    for (name, content, expected) in cases {
        let before = std::fs::read(path.join(name)).unwrap();
        write(path, name, content.as_bytes());
        let message = GradStore::open(path).unwrap_err().to_string();
        assert!(message.contains(expected), "{content}:\n{message}");
        write(path, name, &before);
    }
}

#[test]
fn arrays_are_numpys() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in Element::ALL {
        let store = filled(&folder.path().join(dtype.name()), dtype, &wild(3 * DIM, 19), &[1, 2]);
        let out = folder.path().join(format!("{}.npys", dtype.name()));
        let notes = export(&store, ExportTo::Npy, &out).unwrap().notes;
        assert_eq!(notes.len(), usize::from(dtype == Element::Bf16));
        let bytes = std::fs::read(out.join("grads.npy")).unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let head = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let text = std::str::from_utf8(&bytes[10..head]).unwrap();
        let descr = if dtype == Element::F16 { "<f2" } else { "<f4" };
        assert!(text.starts_with(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (3, 18,), }}")));
        assert!(head % 64 == 0 && text.ends_with('\n'));
        let width = if dtype == Element::F16 { 2 } else { 4 };
        assert_eq!(bytes.len() - head, 3 * DIM * width);
        assert!(std::fs::read(out.join("row_id.npy")).unwrap().ends_with(&20i64.to_le_bytes()));
        let trak = folder.path().join(format!("{}.trak", dtype.name()));
        export(&store, ExportTo::Trak, &trak).unwrap();
        assert_eq!(std::fs::read(trak.join("0/grads.mmap")).unwrap(), bytes);
    }
}
