//! Planted gradients: a mean under noise, noise alone, matrices of known rank; files.

use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::products::cosine;
use super::*;
use crate::ckpt::{StoredTensor, TensorFile};
use crate::feedback::moments::{Moments, Order, Parameter};
use crate::feedback::precondition::Rule;

fn normals(random: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (0..count).map(|_| ((-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()) as f32).collect()
}

fn shapes() -> BTreeMap<String, Vec<usize>> {
    BTreeMap::from([("a.weight".to_owned(), vec![12, 30]), ("b.bias".to_owned(), vec![40])])
}

fn gradients(random: &mut ChaCha8Rng, mean: f32) -> Gradients {
    let one = |shape: &Vec<usize>| {
        let values = normals(random, shape.iter().product()).into_iter().map(|value| value + mean).collect();
        SiteValues { shape: shape.clone(), values }
    };
    let mut one = one;
    shapes().iter().map(|(name, shape)| (name.clone(), one(shape))).collect()
}

fn collected(seed: u64, items: usize, mean: f32) -> Collected {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut builder = GradSetBuilder::new(&shapes(), true);
    for item in 0..items {
        builder.add(&format!("seed {seed} item {item}"), &gradients(&mut random, mean)).unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn split_halves_agree_on_a_planted_mean_and_not_on_noise() {
    // In d dimensions the cosine of independent directions has the standard deviation 1 / sqrt(d).
    let (seeds, d) = (60, 400f64);
    let cosines: Vec<f64> =
        (0..seeds).map(|seed| collected(seed, 20, 0.0).evidence().split_half_cosine.unwrap()).collect();
    let mean = cosines.iter().sum::<f64>() / seeds as f64;
    let square = cosines.iter().map(|cosine| cosine * cosine).sum::<f64>() / seeds as f64;
    assert!(mean.abs() < 4.0 / (d * seeds as f64).sqrt(), "mean {mean}");
    assert!((square * d - 1.0).abs() < 4.0 * (2.0 / seeds as f64).sqrt(), "variance {square}");
    assert!(cosines.iter().all(|cosine| cosine.abs() < 4.5 / d.sqrt()), "{cosines:?}");
    // Halves of n / 2 items: signal m^2, noise 2 / n, so the cosine is m^2 / (m^2 + 2 / n).
    let (planted, evidence) = (collected(99, 200, 1.0), collected(99, 200, 1.0).evidence());
    let found = evidence.split_half_cosine.unwrap();
    assert!((found - 1.0 / 1.01).abs() < 0.01, "{found}");
    assert_eq!(evidence.warning(), None);
    // Of a mean of 1 with variance 1: 1 on average, squares 2, norms sqrt(2 d).
    assert!(planted.mean().values().flat_map(|x| &x.values).all(|value| (value - 1.0).abs() < 5.0 / 200f32.sqrt()));
    let fisher = planted.fisher().unwrap();
    let mean_square = fisher.values().flat_map(|x| &x.values).map(|&x| f64::from(x)).sum::<f64>() / d;
    assert!((mean_square - 2.0).abs() < 0.05, "{mean_square}");
    assert!((evidence.norm_mean - 800f64.sqrt()).abs() < 0.5 && (evidence.norm_median - 800f64.sqrt()).abs() < 0.5);
}

#[test]
fn two_items_give_their_mean_squares_and_norms() {
    let shapes = BTreeMap::from([("w".to_owned(), vec![2])]);
    let item = |a: f32, b: f32| Gradients::from([("w".to_owned(), SiteValues { shape: vec![2], values: vec![a, b] })]);
    let mut builder = GradSetBuilder::new(&shapes, true);
    builder.add("one", &item(3.0, 4.0)).unwrap();
    builder.add("two", &item(-1.0, 0.0)).unwrap();
    builder.add("three", &item(0.0, 2.0)).unwrap();
    builder.add("four", &item(2.0, 2.0)).unwrap();
    let all = builder.finish().unwrap();
    assert_eq!(all.mean()["w"].values, [1.0, 2.0]);
    assert_eq!(all.fisher().unwrap()["w"].values, [3.5, 6.0]);
    let evidence = all.evidence();
    assert!((evidence.norm_mean - (5.0 + 1.0 + 2.0 + 8f64.sqrt()) / 4.0).abs() < 1e-12);
    assert_eq!((evidence.items, evidence.norm_median), (4, f64::midpoint(2.0, 8f64.sqrt())));
    assert_eq!(cosine(&item(1.0, 0.0), &item(-2.0, 0.0)), Some(-1.0));
    assert_eq!(cosine(&item(1.0, 0.0), &item(0.0, 0.0)), None);
}

#[test]
fn wrong_items_are_refused_whole() {
    let mut builder = GradSetBuilder::new(&shapes(), false);
    let mut wrong = gradients(&mut ChaCha8Rng::seed_from_u64(1), 0.0);
    wrong.get_mut("a.weight").unwrap().values[7] = f32::INFINITY;
    wrong.get_mut("b.bias").unwrap().shape = vec![4, 10];
    wrong.insert("c".to_owned(), SiteValues { shape: vec![], values: vec![0.0] });
    let message = builder.add("doc 4", &wrong).unwrap_err().to_string();
    for part in [
        "item doc 4, parameter a.weight: expected a finite gradient, found inf",
        "parameter b.bias: expected a gradient of the shape [40], found [4, 10]",
        "parameter c: expected gradients of the parameters that were named",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let missing = builder.add("doc 5", &Gradients::new()).unwrap_err();
    assert_eq!(missing.diagnostics().len(), 2);
    assert!(builder.finish().unwrap_err().to_string().contains("at least one item"));
}

#[test]
fn one_item_has_no_second_half() {
    let evidence = collected(5, 1, 1.0).evidence();
    assert_eq!(evidence.split_half_cosine, None);
    assert!(evidence.warning().unwrap().starts_with("noise"));
}

fn rebuilt(svd: &ThinSvd, columns: usize) -> Vec<f64> {
    let rows = svd.u.len() / svd.rank;
    let entry = |row: usize, column: usize| {
        (0..svd.rank)
            .map(|k| {
                f64::from(svd.u[row * svd.rank + k]) * f64::from(svd.s[k]) * f64::from(svd.v[k * columns + column])
            })
            .sum::<f64>()
    };
    (0..rows * columns).map(|at| entry(at / columns, at % columns)).collect()
}

#[test]
fn singular_values_rebuild_a_matrix_and_find_its_rank() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for (rows, columns) in [(9, 23), (31, 8), (12, 12)] {
        let small = rows.min(columns);
        let matrix = normals(&mut random, rows * columns);
        let whole = thin_svd(&matrix, rows, columns, 99);
        assert_eq!(whole.rank, small);
        for (found, wanted) in rebuilt(&whole, columns).iter().zip(&matrix) {
            assert!((found - f64::from(*wanted)).abs() < 2e-6, "{found} for {wanted}");
        }
        // Eckart and Young: what a cut leaves out are the singular values behind it.
        let cut = thin_svd(&matrix, rows, columns, 3);
        assert_eq!((cut.s.as_slice(), cut.u.len(), cut.v.len()), (&whole.s[..3], rows * 3, 3 * columns));
        let left: f64 = rebuilt(&cut, columns).iter().zip(&matrix).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum();
        let wanted: f64 = whole.s[3..].iter().map(|&s| f64::from(s).powi(2)).sum();
        assert!((left - wanted).abs() < 1e-4 * wanted, "{left} for {wanted}");
        // Singular vectors are orthonormal.
        for (one, other) in (0..small).flat_map(|one| (0..=one).map(move |other| (one, other))) {
            let wanted = f64::from(u8::from(one == other));
            let right: f64 = (0..columns)
                .map(|c| f64::from(whole.v[one * columns + c]) * f64::from(whole.v[other * columns + c]))
                .sum();
            let left: f64 =
                (0..rows).map(|r| f64::from(whole.u[r * small + one]) * f64::from(whole.u[r * small + other])).sum();
            assert!((right - wanted).abs() < 1e-6 && (left - wanted).abs() < 1e-6, "{one}, {other}: {left}, {right}");
        }
    }
    // Whole numbers, so that the rank is exact: an outer product.
    let (u, v) = ([1.0f32, -2.0, 3.0], [4.0f32, 0.0, 1.0, -1.0, 2.0]);
    let matrix: Vec<f32> = u.iter().flat_map(|a| v.iter().map(move |b| a * b)).collect();
    let svd = thin_svd(&matrix, 3, 5, 3);
    assert!((svd.s[0] - (14f32 * 22.0).sqrt()).abs() < 1e-5);
    assert!(svd.s[1..].iter().all(|&s| s < 1e-6), "{:?}", svd.s);
    assert_eq!(thin_svd(&[0.0; 6], 2, 3, 2).s, [0.0, 0.0]);
    assert_eq!(thin_svd(&[], 0, 3, 2).rank, 0);
}

#[test]
fn stacks_are_cut_one_by_one_and_vectors_stay() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let values = normals(&mut random, 2 * 4 * 6);
    let second = thin_svd(&values[24..], 4, 6, 2);
    let whole = Gradients::from([
        ("experts".to_owned(), SiteValues { shape: vec![2, 4, 6], values }),
        ("norm".to_owned(), SiteValues { shape: vec![3], values: vec![1.0, 2.0, 3.0] }),
    ]);
    let cut = low_rank(&whole, 2);
    let shapes: Vec<(&str, &[usize])> = cut.iter().map(|(name, x)| (name.as_str(), x.shape.as_slice())).collect();
    let wanted: [(&str, &[usize]); 4] =
        [("experts.s", &[2, 2]), ("experts.u", &[2, 4, 2]), ("experts.v", &[2, 2, 6]), ("norm", &[3])];
    assert_eq!(shapes, wanted);
    assert_eq!(cut["experts.v"].values[12..], second.v);
}

fn set(kind: Kind, tensors: Gradients, evidence: Evidence) -> GradSet {
    let provenance = Provenance {
        name: "arithmetic".to_owned(),
        checkpoint: "blake3:00".to_owned(),
        step: Some(1200),
        loss: "negative log-likelihood of the answer".to_owned(),
        reduction: Reduction::Mean,
        optimizer: None,
    };
    GradSet { kind, provenance, evidence, tensors }
}

#[test]
fn sets_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("target_arithmetic.safetensors");
    let all = collected(7, 9, 0.0);
    let whole = set(Kind::Target, all.mean(), all.evidence());
    whole.write(&path, Precision::F32).unwrap();
    assert_eq!(GradSet::read(&path).unwrap(), whole);
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    assert_eq!(text.contains("\"warning\":\"noise"), whole.evidence.split_half_cosine.unwrap() < LEAST_COSINE);
    whole.write(&path, Precision::Bf16).unwrap();
    let rounded = GradSet::read(&path).unwrap();
    for (name, tensor) in &whole.tensors {
        let wanted: Vec<f32> = tensor.values.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        assert_eq!(rounded.tensors[name].values, wanted, "{name}");
    }
    let mut other = set(Kind::Fisher, all.fisher().unwrap(), Evidence { split_half_cosine: None, ..all.evidence() });
    other.provenance.step = None;
    other.provenance.optimizer = Some("AdamW at step 1200, blake3:11".to_owned());
    other.write(&path, Precision::F32).unwrap();
    assert_eq!(GradSet::read(&path).unwrap(), other);
    // Beyond bfloat16: the file before stays.
    other.tensors.get_mut("b.bias").unwrap().values[0] = f32::MAX;
    let message = other.write(&path, Precision::Bf16).unwrap_err().to_string();
    assert!(message.contains("tensor b.bias: expected finite values within Bf16"), "{message}");
    assert!(GradSet::read(&path).is_ok());
}

fn moments_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/moments")
}

/// The gradients of the oracle's tiny model as eight items around them: an eighth of them to fifteen eighths.
fn tiny() -> (Gradients, Collected) {
    let file = TensorFile::open(&moments_folder().join("gradients.safetensors")).unwrap();
    let read = |(name, tensor): (&String, &StoredTensor)| {
        let values = file.read_floats(name).unwrap();
        (name.clone(), SiteValues { shape: tensor.shape.clone(), values })
    };
    let mean: Gradients = file.tensors().iter().map(read).collect();
    let shapes = mean.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let mut builder = GradSetBuilder::new(&shapes, false);
    for item in 0..8u8 {
        let mut own = mean.clone();
        let factor = f32::from(2 * item + 1) / 8.0;
        own.values_mut().flat_map(|tensor| &mut tensor.values).for_each(|value| *value *= factor);
        builder.add(&format!("item {item}"), &own).unwrap();
    }
    (mean, builder.finish().unwrap())
}

#[test]
fn an_optimizers_state_scales_the_mean_as_torch_would() {
    let (mean, all) = tiny();
    // Names do not tell the order of torch; the file with names needs none.
    let parameters: Vec<Parameter> =
        mean.iter().map(|(name, tensor)| Parameter { name: name.clone(), shape: tensor.shape.clone() }).collect();
    let moments = Moments::open(&moments_folder().join("adamw_named.pt"), &parameters, Order::Unknown).unwrap();
    let expected = TensorFile::open(&moments_folder().join("adamw.expected.safetensors")).unwrap();
    let (scaled, evidence) = all.preconditioned(&moments, Rule::Optimizer).unwrap();
    for (name, tensor) in &scaled {
        let wanted = expected.read_floats(&format!("update.{name}")).unwrap();
        let largest = wanted.iter().fold(0f32, |most, value| most.max(value.abs()));
        let close = tensor.values.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-6 * largest);
        assert!(close, "{name}: {:?} for {wanted:?}", tensor.values);
    }
    assert_eq!(scaled.len(), mean.len());
    // Items differ by a factor alone.
    assert!(evidence.split_half_cosine.unwrap() > 0.999_999);
    let fewer = Gradients::from([("other".to_owned(), SiteValues { shape: vec![1], values: vec![1.0] })]);
    let mut builder = GradSetBuilder::new(&BTreeMap::from([("other".to_owned(), vec![1])]), false);
    builder.add("a", &fewer).unwrap();
    let message = builder.finish().unwrap().preconditioned(&moments, Rule::Less).unwrap_err().to_string();
    assert!(message.contains("parameter other: expected moments of the parameter, found none"), "{message}");
}

/// The set that `tests/oracle/precondition.py` loads by the names of its model.
#[test]
fn the_set_that_torch_loads_is_this_one() {
    let (_, all) = tiny();
    let path = moments_folder().join("target_tiny.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("target_tiny.safetensors");
    set(Kind::Target, all.mean(), all.evidence()).write(&written, Precision::Bf16).unwrap();
    let bytes = std::fs::read(&written).unwrap();
    let same = std::fs::read(&path).unwrap_or_default() == bytes;
    assert!(same, "expected the bytes of {}, found those of {}", path.display(), folder.keep().display());
}

#[test]
fn every_fault_of_a_header_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.safetensors");
    let all = collected(7, 3, 1.0);
    set(Kind::Retain, all.mean(), all.evidence()).write(&path, Precision::F32).unwrap();
    let good = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&good[8..8 + length]).unwrap();
    let attempt = |changes: &[(&str, &str)]| {
        let header = changes.iter().fold(header.to_owned(), |header, (from, to)| {
            assert!(header.contains(from), "{header}");
            header.replace(from, to)
        });
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &good[8 + length..]].concat();
        std::fs::write(&path, bytes).unwrap();
        GradSet::read(&path).map(drop).unwrap_err().to_string()
    };
    assert!(attempt(&[("veval.gradset/1", "veval.gradset/2")]).contains("found veval.gradset/2"));
    let message = attempt(&[
        ("\"kind\":\"retain\"", "\"kind\":\"hostage\""),
        ("\"items\":\"3\"", "\"items\":\"0\""),
        ("\"sign\":\"gradient", "\"sign\":\"minus the gradient"),
        ("\"checkpoint\"", "\"chequepoint\""),
        ("\"step\":\"1200\"", "\"step\":\"-1\""),
        ("\"reduction\":\"mean\"", "\"reduction\":\"product\""),
        ("\"split_half_cosine\":\"", "\"split_half_cosine\":\"7"),
        ("\"norm_mean\":\"", "\"norm_mean\":\"NaN"),
    ]);
    assert_eq!(message.lines().count(), 8, "{message}");
    for part in
        ["`kind`", "`items`", "`sign`", "`checkpoint`", "`step`", "`reduction`", "`split_half_cosine`", "`norm_mean`"]
    {
        assert!(message.contains(part), "{message}");
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(GradSet::read(&path).unwrap_err().to_string().contains("bytes of tensor data"));
    let mut nan = good.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, nan).unwrap();
    assert!(GradSet::read(&path).unwrap_err().to_string().contains("expected finite values, found NaN"));
}
