//! Targets, choices and files; the worlds have a file of their own.

use super::*;
use crate::error::Result;

fn token(truth: u32, slopes: &[(u32, f64)]) -> TokenSlopes {
    let candidates = slopes.iter().map(|&(id, slope)| Candidate { id, slope, halves: None }).collect();
    TokenSlopes { truth, candidates }
}

fn entries(target: &SoftTarget) -> Vec<(u32, f32)> {
    target.entries().collect()
}

#[test]
fn the_lowest_slope_gets_everything_unless_it_is_the_truth() {
    let tokens = [token(3, &[(3, 1.0), (7, -2.0), (9, 0.5)]), token(4, &[(4, -1.0), (1, 0.0)]), token(2, &[(2, 5.0)])];
    let design = design(&tokens, 0.25).unwrap();
    assert_eq!(entries(&design.targets[0]), [(3, 0.75), (7, 0.25)]);
    assert_eq!(design.targets[1..], [SoftTarget::one_hot(4), SoftTarget::one_hot(2)]);
    assert_eq!(design.gain, Gain { best: 0.25 * 3.0 / 3.0, crossed: None, shifted: 1, tokens: 3 });
    // Equal slopes: the truth, then the lower id.
    let tied = super::design(&[token(5, &[(9, 0.0), (5, 0.0), (8, -1.0), (6, -1.0)])], 0.5).unwrap();
    assert_eq!(entries(&tied.targets[0]), [(5, 0.5), (6, 0.5)]);
    let tied = super::design(&[token(5, &[(2, 0.0), (5, 0.0)])], 0.5).unwrap();
    assert_eq!(tied.targets[0], SoftTarget::one_hot(5));
}

#[test]
fn candidates_are_the_truth_and_the_likeliest() {
    let logits = [0.0, 3.0, 1.0, 3.0, -1.0];
    assert_eq!(candidates(&logits, 4, 3).unwrap(), [4, 1, 3]);
    assert_eq!(candidates(&logits, 1, 1).unwrap(), [1]);
    assert_eq!(candidates(&logits, 1, 99).unwrap(), [1, 3, 2, 0, 4]);
    for (logits, truth, k) in [(&logits[..], 5, 2), (&logits[..], 0, 0), (&[f32::NAN][..], 0, 1)] {
        assert!(candidates(logits, truth, k).unwrap_err().to_string().starts_with("expected logits that are numbers"));
    }
}

/// With alpha = 0 the loss and its gradient are those of the ordinary target, to the bit.
#[test]
fn alpha_zero_is_the_ordinary_loss() {
    let logits = [0.3f32, -1.7, 2.9, 0.01, 1.0];
    let design = design(&[token(1, &[(1, 4.0), (2, -3.0)])], 0.0).unwrap();
    assert_eq!((design.gain.best, design.gain.shifted), (0.0, 0));
    let mixed = SoftTarget::mixed(1, 0.0, &[(2, 0.5), (3, 0.5)]).unwrap();
    let greatest = f64::from(logits[2]);
    let sum: f64 = logits.iter().map(|&z| (f64::from(z) - greatest).exp()).sum();
    let ordinary = greatest + sum.ln() - f64::from(logits[1]);
    for target in [&design.targets[0], &mixed] {
        assert_eq!(target.loss(&logits).unwrap().to_bits(), ordinary.to_bits());
        let plain = SoftTarget::one_hot(1).logit_gradient(&logits).unwrap();
        assert_eq!(target.logit_gradient(&logits).unwrap(), plain);
    }
    let all = SoftTarget::mixed(1, 0.4, &[(1, 1.0)]).unwrap();
    assert_eq!(all, SoftTarget::one_hot(1), "a shift to the truth is none");
}

#[test]
fn bad_targets_are_refused() {
    let text = |result: Result<SoftTarget>| result.unwrap_err().to_string();
    assert_eq!(
        text(SoftTarget::mixed(0, 1.5, &[(1, 1.0)])),
        "expected a share of the target between 0 and 1, found 1.5"
    );
    assert!(text(SoftTarget::mixed(0, 0.5, &[(1, 0.6)])).contains("a sum of 0.6"));
    assert!(text(SoftTarget::mixed(0, 0.5, &[(1, f64::NAN)])).contains("NaN"));
    assert!(text(SoftTarget::mixed(0, 0.5, &[(1, 2.0), (2, -1.0)])).contains("with a sum of 1"));
    assert!(text(SoftTarget::mixed(0, 0.5, &[(1, 0.5), (1, 0.5)])).contains("found 1 twice"));
    assert!(SoftTarget::one_hot(9).loss(&[0.0; 4]).unwrap_err().to_string().contains("token 9, found one of 4"));
    let text = |tokens: &[TokenSlopes], alpha: f64| design(tokens, alpha).unwrap_err().to_string();
    assert_eq!(
        text(&[token(0, &[(1, 0.0)])], 0.5),
        "token 0: expected the true token 0 among the candidates, found none"
    );
    assert_eq!(text(&[token(0, &[(0, f64::NAN)])], 0.5), "token 0: expected finite slopes, found NaN");
    assert!(text(&[token(0, &[(0, 0.0), (0, 0.0)])], 0.5).contains("token 0 twice"));
    assert!(text(&[token(0, &[(0, 0.0)])], f64::NAN).contains("found NaN"));
    assert!(text(&[], 0.5).contains("at least one token"));
}

fn file() -> TargetFile {
    let soft = |truth, r: &[(u32, f64)]| SoftTarget::mixed(truth, 0.5, r).unwrap();
    TargetFile {
        origin: TargetOrigin {
            alpha_max: 0.5,
            tokenizer: "blake3:aa".to_owned(),
            checkpoint: "blake3:bb".to_owned(),
            documents: "blake3:cc".to_owned(),
        },
        documents: vec![
            vec![(1, soft(3, &[(9, 1.0)])), (4, SoftTarget::one_hot(0))],
            Vec::new(),
            vec![(0, soft(0, &[(1, 0.5), (2, 0.5)]))],
        ],
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.safetensors");
    let written = file();
    written.write(&path).unwrap();
    let read = TargetFile::read(&path).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.by_position()[&(2, 0)].truth(), 0);
    let tensors = crate::ckpt::TensorFile::open(&path).unwrap();
    assert_eq!(tensors.read_integers("ids").unwrap(), [3, 9, 3, 0, 0, 0, 0, 1, 2]);
    assert_eq!(tensors.read_floats("probabilities").unwrap(), [0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 0.5, 0.25, 0.25]);
    assert_eq!(tensors.read_integers("offsets").unwrap(), [0, 2, 2, 3]);
}

#[test]
fn files_that_cannot_be_are_refused() {
    use crate::ckpt::TensorElement::{F32, I64};
    use crate::ckpt::{TensorPlan, write_tensor_file};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.safetensors");
    let mut twice = file();
    twice.documents[0][1].0 = 1;
    assert_eq!(
        twice.write(&path).unwrap_err().to_string(),
        ", document 0: expected ascending positions, found 1 before 1".trim_start_matches(", ")
    );
    let write = |schema: &str, offsets: &[i64], ids: &[i64], probabilities: &[f32]| {
        let strings =
            [("schema", schema), ("alpha_max", "0.5"), ("tokenizer", "t"), ("checkpoint", "c"), ("documents", "d")];
        let strings = strings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let plan =
            |name: &str, element, shape: &[usize]| TensorPlan { name: name.to_owned(), element, shape: shape.to_vec() };
        let plans = vec![
            plan("offsets", I64, &[offsets.len()]),
            plan("positions", I64, &[1]),
            plan("ids", I64, &[1, ids.len()]),
            plan("probabilities", F32, &[1, probabilities.len()]),
        ];
        write_tensor_file(&path, &strings, plans, |plan| {
            let integers = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Ok(match plan.name.as_str() {
                "offsets" => integers(offsets),
                "positions" => integers(&[2]),
                "ids" => integers(ids),
                _ => F32.encode(probabilities),
            })
        })
        .unwrap();
        TargetFile::read(&path)
    };
    let schema = "veval.soft-targets/1";
    assert!(write(schema, &[0, 1], &[1, 2], &[0.5, 0.5]).is_ok());
    let cases: [(Result<TargetFile>, &str); 6] = [
        (write("veval.soft-targets/2", &[0, 1], &[1], &[1.0]), "found veval.soft-targets/2"),
        (write(schema, &[0, 2], &[1], &[1.0]), "expected ascending offsets from 0 to 1"),
        (write(schema, &[], &[1], &[1.0]), "expected ascending offsets"),
        (write(schema, &[0, 1], &[1, -2], &[0.5, 0.5]), "row 0: expected a number within 32 bits, found -2"),
        (write(schema, &[0, 1], &[1, 2], &[0.5, f32::NAN]), "row 0: expected a probability for each of 2 tokens"),
        (write(schema, &[0, 1], &[1, 2], &[1.0]), "tensor probabilities: expected the shape"),
    ];
    for (result, wanted) in cases {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(wanted) && message.contains("targets.safetensors"), "{message}");
    }
}
