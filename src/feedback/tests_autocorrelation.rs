//! Planted covariances, whitened; files that are wrong.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use TensorElement::{F32, I64};

type Tensors<'a> = &'a [(&'a str, TensorElement, &'a [usize], Vec<u8>)];

/// Standard normal numbers by Box and Muller.
fn normals(seed: u64, count: usize) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (0..count).map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()).collect()
}

/// `x = L z` with a lower triangular `L`, so that the covariance is `L L^T`.
fn planted(seed: u64, dim: usize, count: usize) -> (Vec<f64>, Vec<f32>) {
    let lower: Vec<f64> = normals(seed, dim * dim)
        .into_iter()
        .enumerate()
        .map(|(at, value)| match (at / dim).cmp(&(at % dim)) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 1.0 + value.abs(),
            std::cmp::Ordering::Greater => 0.4 * value,
        })
        .collect();
    let vectors = normals(seed + 1, dim * count)
        .chunks(dim)
        .flat_map(|z| {
            lower.chunks(dim).map(|row| row.iter().zip(z).map(|(l, z)| l * z).sum::<f64>() as f32).collect::<Vec<_>>()
        })
        .collect();
    (lower, vectors)
}

fn accumulated(module: &str, dim: usize, vectors: &[f32]) -> Autocorrelation {
    let mut sums = Autocorrelation::new();
    sums.add(module, dim, vectors).unwrap();
    sums
}

fn distance_from_identity(matrix: &Symmetric) -> f64 {
    let dim = matrix.dim;
    let off = |(at, value): (usize, &f64)| (value - f64::from(u8::from(at / dim == at % dim))).abs();
    matrix.values.iter().enumerate().map(off).fold(0.0, f64::max)
}

#[test]
fn a_planted_covariance_is_found_and_whitened_to_the_identity() {
    let (dim, count) = (24, 20_000);
    let (lower, mut vectors) = planted(3, dim, count);
    let sums = accumulated("m", dim, &vectors);
    let found = &sums.means()["m"];
    for (at, value) in found.values.iter().enumerate() {
        let (row, column) = (at / dim, at % dim);
        let cov = |a: usize, b: usize| (0..dim).map(|k| lower[a * dim + k] * lower[b * dim + k]).sum::<f64>();
        let error = ((cov(row, row) * cov(column, column) + cov(row, column).powi(2)) / count as f64).sqrt();
        assert!((value - cov(row, column)).abs() < 5.0 * error, "{row}, {column}: {value}");
    }
    let root = Whitening::new(found, Damping::Absolute(0.0), Power::InverseRoot).unwrap();
    let inverse = Whitening::new(found, Damping::Absolute(0.0), Power::Inverse).unwrap();
    // Both sides of a dot product by the root are one side by the inverse.
    let (mut a, mut b) = (vectors[..dim].to_vec(), vectors[dim..2 * dim].to_vec());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let mut one_side = a.clone();
    inverse.apply(&mut one_side);
    let wanted = dot(&one_side, &b);
    root.apply(&mut a);
    root.apply(&mut b);
    assert!((dot(&a, &b) - wanted).abs() < 1e-4 * wanted.abs().max(1.0), "{} for {wanted}", dot(&a, &b));
    root.apply(&mut vectors);
    let white = distance_from_identity(&accumulated("m", dim, &vectors).means()["m"]);
    assert!(white < 1e-5, "{white} from the identity");
}

#[test]
fn damping_is_added_to_every_eigenvalue() {
    let matrix = Symmetric { dim: 2, values: vec![4.0, 0.0, 0.0, 0.0] };
    let damped = Whitening::new(&matrix, Damping::default(), Power::Inverse).unwrap();
    assert!((damped.matrix().values[0] - 1.0 / 4.2).abs() < 1e-15 && (damped.matrix().values[3] - 5.0).abs() < 1e-15);
    let root = Whitening::new(&matrix, Damping::Absolute(0.25), Power::InverseRoot).unwrap();
    assert!((root.matrix().values[0] - 4.25f64.powf(-0.5)).abs() < 1e-15 && root.matrix().values[3] == 2.0);
    for damping in [Damping::Absolute(0.0), Damping::Absolute(-1.0), Damping::Absolute(f64::NAN)] {
        assert!(Whitening::new(&matrix, damping, Power::Inverse).is_err(), "{damping:?}");
    }
    let zero = Symmetric { dim: 2, values: vec![0.0; 4] };
    assert!(Whitening::new(&zero, Damping::default(), Power::Inverse).is_err());
}

#[test]
fn batches_change_no_bit() {
    let (_, vectors) = planted(8, 150, 70);
    let whole = accumulated("m", 150, &vectors);
    let mut parts = Autocorrelation::new();
    for batch in [&vectors[..150], &vectors[150..37 * 150], &vectors[37 * 150..]] {
        parts.add("m", 150, batch).unwrap();
    }
    assert_eq!(whole, parts);
    let entry = |row: usize, column: usize| -> f64 {
        vectors.chunks(150).fold(0.0, |sum, x| f64::from(x[row]).mul_add(f64::from(x[column]), sum))
    };
    for (row, column) in [(0, 0), (3, 149), (149, 3), (130, 131)] {
        assert_eq!(whole.modules()["m"].sums().values[row * 150 + column], entry(row, column));
    }
}

#[test]
fn mixtures_take_their_shares() {
    let query = accumulated("m", 2, &[2.0, 0.0, 0.0, 1.0]);
    let train = accumulated("m", 2, &[4.0, 0.0]);
    let mixed = Autocorrelation::mixed(0.25, &query, &train).unwrap();
    // 1/4 diag(2, 1/2) + 3/4 diag(16, 0)
    assert_eq!(mixed["m"].values, [12.5, 0.0, 0.0, 0.125]);
    assert!((Autocorrelation::trackstar_share(&query, &train, 1).unwrap() - 16.0 / 18.0).abs() < 1e-12);
    assert!(Autocorrelation::trackstar_share(&query, &train, 3).is_err());
    assert!(Autocorrelation::mixed(1.5, &query, &train).is_err());
    let mut other = accumulated("m", 3, &[1.0; 3]);
    other.add("n", 2, &[1.0, 2.0]).unwrap();
    let message = Autocorrelation::mixed(0.5, &query, &other).unwrap_err().to_string();
    assert!(message.contains("module m: expected gradients of 2 numbers, found 3"), "{message}");
    assert!(message.contains("module n: expected the same modules"), "{message}");
    let mut merged = query.clone();
    assert!(merged.merge(&other).is_err() && merged == query);
    merged.merge(&train).unwrap();
    assert_eq!((merged.modules()["m"].count(), merged.modules()["m"].sums().values[0]), (3, 20.0));
}

#[test]
fn vectors_that_cannot_be_added_are_refused() {
    let mut sums = accumulated("m", 2, &[1.0, 2.0]);
    for (dim, vectors, message) in [
        (2, &[1.0, 2.0, 3.0][..], "found 3 numbers by 2"),
        (0, &[], "found 0 numbers by 0"),
        (3, &[1.0; 3], "expected vectors of 2 numbers, found 3"),
        (2, &[0.0, 0.0, 0.0, f32::NAN], "found NaN in vector 1"),
    ] {
        let found = sums.add("m", dim, vectors).unwrap_err().to_string();
        assert!(found.contains(message), "{found}");
    }
    assert_eq!(sums.modules()["m"].count(), 1);
}

#[test]
fn files_are_read_back_and_wrong_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precond.safetensors");
    let mut sums = accumulated("layers.0.mlp.up_proj", 2, &[0.5, 2.0, 1.0, -1.0]);
    sums.add("layers.1.mlp.up_proj", 3, &[1.0, 2.0, 3.0]).unwrap();
    sums.write(&path, &BTreeMap::from([("projection".to_owned(), "rademacher 16".to_owned())])).unwrap();
    let (read, metadata) = Autocorrelation::read(&path).unwrap();
    assert_eq!(read.means(), sums.means());
    assert_eq!(read.modules()["layers.0.mlp.up_proj"].count(), 2);
    assert_eq!(metadata["projection"], "rademacher 16");

    let f = |values: &[f32]| F32.encode(values);
    let n = |value: i64| value.to_le_bytes().to_vec();
    let attempt = |schema: &str, tensors: Tensors| {
        let plans = tensors.iter().map(|(name, element, shape, _)| TensorPlan {
            name: (*name).to_owned(),
            element: *element,
            shape: shape.to_vec(),
        });
        let bytes = |plan: &TensorPlan| Ok(tensors.iter().find(|t| t.0 == plan.name).unwrap().3.clone());
        let metadata = BTreeMap::from([("schema".to_owned(), schema.to_owned())]);
        write_tensor_file(&path, &metadata, plans.collect(), bytes).unwrap();
        Autocorrelation::read(&path).map(drop).map_err(|e| e.to_string()).unwrap_err()
    };
    assert!(attempt("veval.precond/2", &[]).contains("expected the schema veval.precond/1, found veval.precond/2"));
    let cases: [(&str, Tensors); 8] = [
        ("expected a square matrix", &[("m.gram", F32, &[2, 1], f(&[1.0, 2.0])), ("m.count", I64, &[], n(1))]),
        ("expected a tensor of this name, found none", &[("m.gram", F32, &[1, 1], f(&[1.0]))]),
        ("expected one count, found 2", &[("m.gram", F32, &[1, 1], f(&[1.0])), ("m.count", I64, &[2], vec![0; 16])]),
        (
            "expected a count of at least 0, found -4",
            &[("m.gram", F32, &[1, 1], f(&[1.0])), ("m.count", I64, &[], n(-4))],
        ),
        ("expected 64-bit integers", &[("m.gram", F32, &[1, 1], f(&[1.0])), ("m.count", F32, &[], f(&[1.0]))]),
        ("found NaN at 0, 0", &[("m.gram", F32, &[1, 1], f(&[f32::NAN])), ("m.count", I64, &[], n(1))]),
        (
            "expected a symmetric matrix",
            &[("m.gram", F32, &[2, 2], f(&[1.0, 2.0, 3.0, 4.0])), ("m.count", I64, &[], n(1))],
        ),
        ("found another name", &[("weights", F32, &[1], f(&[1.0]))]),
    ];
    for (message, tensors) in cases {
        let found = attempt(SCHEMA, tensors);
        assert!(found.contains(message), "{found}");
    }
}
