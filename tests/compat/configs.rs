//! Real configurations are read, or refused for the very thing that is not supported.

use veval::ckpt::Config;
use veval::model::families::Family;

use crate::shared::shared_data;

#[test]
fn real_configurations_are_accepted_or_refused_by_name() {
    let Some(shared) = shared_data() else { return };
    let refused = [("gpt2-gptq4bit", "quantization_config"), ("pythia-410m-seqcls", "architectures")];
    let mut accepted = 0;
    let mut paths: Vec<_> =
        std::fs::read_dir(shared.join("hf-configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    for path in paths {
        let values = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let config = Config { path: path.clone(), values };
        let described = Family::of(&config).and_then(|family| family.describe(&config));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match (described, refused.iter().find(|(refused, _)| *refused == name)) {
            (Ok(described), None) => {
                assert!(described.spec.layers >= 12 && described.spec.vocab > 30_000, "{name}");
                accepted += 1;
            }
            (Err(error), Some((_, key))) => {
                let message = error.to_string();
                assert!(message.contains(&format!("key `{key}`")) && message.lines().count() <= 2, "{name}: {message}");
            }
            (Ok(_), Some(_)) => panic!("{name} was accepted"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
    }
    assert_eq!(accepted, 8);
}
