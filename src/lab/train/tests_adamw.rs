//! Updates against those that torch computed (`tests/oracle/adamw.py`).

use std::path::Path;

use serde_json::Value;

use super::*;

fn recorded() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adamw.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

struct Kept {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    moments: Moments,
}

fn updated<'a>(kept: &'a mut [Kept], gradients: &'a [Vec<f32>]) -> Vec<Updated<'a>> {
    let pairs = kept.iter_mut().zip(gradients);
    pairs
        .map(|(kept, gradient)| Updated {
            name: &kept.name,
            values: &mut kept.values,
            gradient,
            moments: &mut kept.moments,
            decays: decays(&kept.shape),
        })
        .collect()
}

#[test]
fn twenty_updates_are_torchs() {
    let record = recorded();
    let settings: AdamW = serde_json::from_value(record["settings"].clone()).unwrap();
    settings.check().unwrap();
    let mut kept: Vec<Kept> = record["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| Kept {
            name: parameter["name"].as_str().unwrap().to_owned(),
            shape: serde_json::from_value(parameter["shape"].clone()).unwrap(),
            values: numbers(&parameter["values"]),
            moments: Moments::zero(parameter["values"].as_array().unwrap().len()),
        })
        .collect();
    let (mut compared, mut equal) = (0, 0);
    for (index, step) in record["steps"].as_array().unwrap().iter().enumerate() {
        let gradients: Vec<Vec<f32>> = kept.iter().map(|kept| numbers(&step["gradients"][&kept.name])).collect();
        let rate = step["rate"].as_f64().unwrap();
        settings.update(index as u64 + 1, rate, &mut updated(&mut kept, &gradients), 2).unwrap();
        let Some(after) = step.get("after") else { continue };
        for kept in &kept {
            let (values, moments) = (&kept.values, &kept.moments);
            let theirs = |column: &str| numbers(&after[&kept.name][column]);
            assert_eq!(moments.exp_avg, theirs("exp_avg"), "step {index}, {}", kept.name);
            assert_eq!(moments.exp_avg_sq, theirs("exp_avg_sq"), "step {index}, {}", kept.name);
            for (ours, theirs) in values.iter().zip(theirs("values")) {
                assert!((ours - theirs).abs() <= 1e-6 * theirs.abs(), "step {index}, {}: {ours} {theirs}", kept.name);
                compared += 1;
                equal += usize::from(*ours == theirs);
            }
        }
    }
    assert_eq!(compared, 5 * (35 + 6 + 12));
    assert!(equal * 100 >= compared * 95, "{equal} of {compared} to the bit");
}

#[test]
fn threads_change_no_bit() {
    let sizes = [70_001, 5, 40_000];
    let wave = |size: usize, pace: f32| (0..size).map(|at| (at as f32 * pace).sin()).collect::<Vec<f32>>();
    let trained = |threads| {
        let mut kept: Vec<Kept> = sizes
            .iter()
            .map(|&size| Kept {
                name: size.to_string(),
                shape: vec![size, 1],
                values: wave(size, 0.3),
                moments: Moments::zero(size),
            })
            .collect();
        let gradients: Vec<Vec<f32>> = sizes.iter().map(|&size| wave(size, 0.7)).collect();
        for step in 1..4 {
            AdamW::default().update(step, 1e-2, &mut updated(&mut kept, &gradients), threads).unwrap();
        }
        kept.into_iter().flat_map(|kept| kept.values).map(f32::to_bits).collect::<Vec<u32>>()
    };
    let alone = trained(1);
    for threads in [0, 2, 3, 16] {
        assert!(trained(threads) == alone, "{threads} threads");
    }
}

#[test]
fn uneven_parameters_and_impossible_settings_are_refused_together() {
    let kept = |name: &str, values: usize, moments: usize| Kept {
        name: name.to_owned(),
        shape: vec![values],
        values: vec![1.0; values],
        moments: Moments::zero(moments),
    };
    let mut uneven = [kept("a", 3, 3), kept("b", 3, 2), kept("c", 4, 4)];
    let gradients = [vec![1.0; 3], vec![1.0; 3], vec![1.0; 3]];
    let error = AdamW::default().update(1, 0.1, &mut updated(&mut uneven, &gradients), 1).unwrap_err();
    assert_eq!(error.diagnostics().len(), 2, "{error}");
    assert!(error.to_string().contains("parameter b") && error.to_string().contains("parameter c"));
    assert_eq!(uneven[0].values, [1.0; 3], "nothing was updated");

    let settings = AdamW { beta1: 1.0, beta2: f64::NAN, eps: 0.0, weight_decay: -0.1 };
    assert_eq!(settings.check().unwrap_err().diagnostics().len(), 4);
    AdamW::default().check().unwrap();
}
