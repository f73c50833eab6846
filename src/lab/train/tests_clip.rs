//! Clipping against torch (`tests/oracle/adamw.py`).

use std::path::Path;

use serde_json::Value;

use super::*;

#[test]
fn norms_and_clipped_gradients_are_torchs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adamw.json");
    let record: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let gradients = |value: &Value| -> Vec<(String, Vec<f32>)> {
        let tensor =
            |(name, values): (&String, &Value)| (name.clone(), serde_json::from_value(values.clone()).unwrap());
        value.as_object().unwrap().iter().map(tensor).collect()
    };
    let cases = record["clip"].as_array().unwrap();
    let mut clipped = 0;
    for case in cases {
        let before = gradients(&case["before"]);
        let mut ours = before.clone();
        let mut views: Vec<NamedGradient<'_>> = ours.iter_mut().map(|(name, g)| (name.as_str(), &mut g[..])).collect();
        let norm = Clip::new(case["max_norm"].as_f64().unwrap()).unwrap().apply(&mut views).unwrap();
        let theirs = case["norm"].as_f64().unwrap();
        assert!((norm - theirs).abs() <= 2e-7 * theirs, "{norm} {theirs}");
        for ((name, ours), (_, theirs)) in ours.iter().zip(gradients(&case["after"])) {
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!((ours - theirs).abs() <= 2.5e-7 * theirs.abs(), "{name}: {ours} {theirs}");
            }
        }
        clipped += usize::from(ours != before);
    }
    assert_eq!((cases.len(), clipped), (4, 2));
}

#[test]
fn infinity_only_measures_and_broken_gradients_are_named() {
    let (mut a, mut b, mut c) = (vec![3.0f32; 16], vec![4.0f32; 16], Vec::new());
    let mut views: Vec<NamedGradient<'_>> = vec![("a", &mut a), ("b", &mut b), ("c", &mut c)];
    assert_eq!(Clip::new(f64::INFINITY).unwrap().apply(&mut views).unwrap(), 20.0);
    assert_eq!((a[0], b[0]), (3.0, 4.0));

    (a[5], b[15]) = (f32::NAN, f32::NEG_INFINITY);
    let mut views: Vec<NamedGradient<'_>> = vec![("a", &mut a), ("b", &mut b), ("c", &mut c)];
    let error = Clip::new(1.0).unwrap().apply(&mut views).unwrap_err();
    assert_eq!(error.diagnostics().len(), 2, "{error}");
    assert!(error.to_string().contains("parameter a: expected finite gradients, found NaN"), "{error}");
    assert_eq!(b[0], 4.0, "left as they were");
    for wrong in [0.0, -1.0, f64::NAN] {
        assert!(Clip::new(wrong).is_err());
    }
}
