//! Targets and their files.

use super::*;
use crate::error::Result;

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
    let tensors = crate::ckpt::TensorFile::open(&path).unwrap();
    assert_eq!(tensors.read_integers("ids").unwrap(), [3, 9, 3, 0, 0, 0, 0, 1, 2]);
    assert_eq!(tensors.read_floats("probabilities").unwrap(), [0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 0.5, 0.25, 0.25]);
    assert_eq!(tensors.read_integers("offsets").unwrap(), [0, 2, 2, 3]);
}

#[test]
fn a_file_that_moves_more_than_it_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.safetensors");
    let mut more = file();
    more.origin.alpha_max = 0.4;
    more.write(&path).unwrap();
    let error = TargetFile::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("row 0") && error.contains("expected at least 0.6000 of the true token, found 0.5000"),
        "{error}"
    );
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
        (write(schema, &[0, 1], &[1, 2], &[0.5, f32::NAN]), "row 0: expected probabilities of 2 tokens"),
        (write(schema, &[0, 1], &[1, 2], &[1.0]), "tensor probabilities: expected the shape"),
    ];
    for (result, wanted) in cases {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(wanted) && message.contains("targets.safetensors"), "{message}");
    }
}
