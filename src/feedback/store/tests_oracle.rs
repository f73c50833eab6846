//! What Bergson and safetensors wrote, and what Bergson finds in it (`tests/oracle/grad_store.py`).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::feedback::{Scale, Signs};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/grad_store")
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[test]
fn what_others_wrote_is_read_and_searched_as_they_do() {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for dtype in Element::ALL {
        let expected = &expected[dtype.name()];
        let values: Vec<f32> = expected["values"].as_array().unwrap().iter().flat_map(numbers).collect();
        let queries: Vec<Vec<f32>> = expected["queries"].as_array().unwrap().iter().map(numbers).collect();
        let index = GradStore::open(&fixtures().join(format!("bergson_{}", dtype.name()))).unwrap();
        let store = GradStore::open(&fixtures().join(format!("store_{}", dtype.name()))).unwrap();
        store.verify().unwrap();
        store.comparable(&index).unwrap();
        let philox = ProjectionRecord::Rademacher { dim: 2, scale: Scale::Jl, signs: Signs::Philox };
        assert_eq!(store.info(5).unwrap().id, 50);
        for store in [&index, &store] {
            assert_eq!((store.len(), store.layout().dtype, &store.layout().projection), (7, dtype, &philox));
            assert_eq!(store.rows(0..7).unwrap(), values);
            for (name, measure) in [("dot", Measure::Dot), ("cosine", Measure::Cosine)] {
                let found = store.top(&queries, 7, measure, 2).unwrap();
                for (hits, wanted) in found.iter().zip(expected[name].as_array().unwrap()) {
                    for (hit, wanted) in hits.iter().zip(wanted.as_array().unwrap()) {
                        let score = wanted["score"].as_f64().unwrap();
                        assert!((f64::from(hit.score) - score).abs() < 2e-6, "{name}: {hit:?} for {wanted}");
                        assert_eq!(hit.row, wanted["row"].as_u64().unwrap(), "{name}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compared, 3 * 2 * 2 * 2 * 7);
}

#[test]
fn an_exported_index_is_bergsons() {
    for dtype in Element::ALL {
        let store = GradStore::open(&fixtures().join(format!("store_{}", dtype.name()))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("index");
        export(&store, ExportTo::Bergson, &out).unwrap();
        let theirs = fixtures().join(format!("bergson_{}", dtype.name()));
        let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
        assert_eq!(read(&out, "gradients.bin"), read(&theirs, "gradients.bin"));
        let settings = String::from_utf8(read(&out, "processor_config.yaml")).unwrap();
        let wanted = "projection_dim: 2\nprojection_scale: jl\nprojection_type: rademacher\nprojection_version: 2\n";
        assert_eq!(settings, wanted, "Bergson's own, without what it takes for granted");
        let info = |folder: &Path| serde_json::from_slice::<Value>(&read(folder, "info.json")).unwrap();
        assert_eq!(info(&out).to_string(), info(&theirs).to_string());
    }
}
