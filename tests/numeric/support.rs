//! Recorded cases and small helpers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use veval::kernels::Kernels;
use veval::model::{LoadOptions, Loaded, Taps, load};
use veval::request::{Edit, Site, SiteValues};

/// The folders under `tests/fixtures/parity`, by name.
pub fn cases() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity");
    let mut cases: Vec<(String, PathBuf)> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    cases.sort();
    assert!(cases.len() >= 21, "the recorded cases are there");
    cases
}

pub fn open<K: Kernels>(path: &Path, kernels: K) -> Loaded<K> {
    load(path, kernels, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a generic test on both backends.
macro_rules! on_both {
    ($($name:ident = $body:ident;)*) => {
        mod candle {
            $(#[test]
            fn $name() {
                super::$body(veval::kernels::candle::Candle::cpu());
            })*
        }
        mod cpu {
            $(#[test]
            fn $name() {
                super::$body(veval::kernels::cpu::Cpu::default());
            })*
        }
    };
}
pub(crate) use on_both;

/// What was recorded for a case.
pub struct Expected {
    pub floats: BTreeMap<String, SiteValues>,
    pub tokens: Vec<u32>,
    pub greedy: Vec<u32>,
}

pub fn expected(path: &Path) -> Expected {
    let bytes = std::fs::read(path.join("expected.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut floats = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() == safetensors::Dtype::I64 {
            let values = view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32);
            ids.insert(name, values.collect::<Vec<u32>>());
        } else {
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            floats.insert(name, SiteValues { shape: view.shape().to_vec(), values });
        }
    }
    Expected { floats, tokens: ids.remove("tokens").unwrap(), greedy: ids.remove("greedy").unwrap() }
}

/// Logits at every position, and what the captures saw.
pub fn run<K: Kernels>(
    model: &Loaded<K>,
    tokens: &[u32],
    captures: &[Site],
    edits: &[Edit],
) -> (SiteValues, BTreeMap<Site, SiteValues>) {
    let decoder = &model.decoder;
    decoder.check_sites(captures, edits).unwrap();
    let mut taps = Taps::new(decoder.kernels(), captures, edits, 0);
    let hidden = decoder.forward(tokens, &mut decoder.empty_cache(), &mut taps).unwrap();
    let rows: Vec<usize> = (0..tokens.len()).collect();
    (decoder.host_logits(&hidden, &rows).unwrap(), taps.into_captured().unwrap())
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

pub fn first_largest(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
}
