//! Settings: which modules an adapter targets, and by how much.

use serde_json::{Value, json};

use super::settings::Settings;

/// A valid configuration with some keys of its own.
fn settings(keys: &Value) -> Result<Settings, String> {
    let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    Settings::read(folder.path()).map_err(|error| error.to_string())
}

const MODULES: [&str; 6] = [
    "model.embed_tokens",
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
    "model.layers.1.mlp.gate_proj",
    "model.layers.11.mlp.experts.1.gate_proj",
    "lm_head",
];

const NONE: [usize; 0] = [];

/// Numbers of the modules that are targeted.
fn targeted(keys: &Value) -> Vec<usize> {
    let settings = settings(keys).unwrap();
    (0..MODULES.len()).filter(|i| settings.targets(&[MODULES[*i]]).unwrap()).collect()
}

#[test]
fn modules_are_matched_as_peft_matches_them() {
    assert_eq!(targeted(&json!({})), [1, 2]);
    assert_eq!(targeted(&json!({"target_modules": ["proj", "head", "tokens"]})), NONE);
    assert_eq!(targeted(&json!({"target_modules": ["self_attn.q_proj", "lm_head"]})), [1, 2, 5]);
    assert_eq!(targeted(&json!({"target_modules": "q_proj"})), NONE);
    assert_eq!(targeted(&json!({"target_modules": r".*\.(q|gate)_proj"})), [1, 2, 3, 4]);
    assert_eq!(targeted(&json!({"target_modules": r"model\.layers\.\d+\..*"})), [1, 2, 3, 4]);
    assert_eq!(targeted(&json!({"exclude_modules": ["1.self_attn.q_proj"]})), [1]);
    assert_eq!(targeted(&json!({"exclude_modules": r".*layers\.0.*"})), [2]);
    let both = json!(["q_proj", "gate_proj"]);
    assert_eq!(targeted(&json!({"target_modules": both, "modules_to_save": ["mlp"]})), [1, 2]);
    // The layer is the first number, and names that are given whole are taken whatever their layer.
    assert_eq!(targeted(&json!({"target_modules": both, "layers_to_transform": [1]})), [2, 3]);
    assert_eq!(targeted(&json!({"target_modules": both, "layers_to_transform": 11})), [4]);
    let layer = json!({"target_modules": both, "layers_to_transform": [1], "layers_pattern": "experts"});
    assert_eq!(targeted(&layer), [4]);
    let layer = json!({"target_modules": both, "layers_to_transform": [1], "layers_pattern": ["h", "layers"]});
    assert_eq!(targeted(&layer), [2, 3]);
    let whole = json!({"target_modules": [MODULES[1]], "layers_to_transform": [1]});
    assert_eq!(targeted(&whole), [1]);
}

#[test]
fn the_first_pattern_that_fits_counts() {
    let settings = settings(&json!({
        "rank_pattern": {"1.self_attn.q_proj": 2, "q_proj": 16}, "alpha_pattern": {r"layers\.1\..*": 3.0},
    }))
    .unwrap();
    assert_eq!(settings.rank_and_scale(MODULES[1]).unwrap(), (16, 0.5));
    assert_eq!(settings.rank_and_scale(MODULES[2]).unwrap(), (2, 1.5));
    assert_eq!(settings.rank_and_scale(MODULES[3]).unwrap(), (4, 0.75));
    assert_eq!(settings.rank_and_scale(MODULES[4]).unwrap(), (4, 2.0));
    // The whole end of the name must fit.
    assert_eq!(settings.rank_and_scale("model.layers.0.self_attn.freq_proj").unwrap(), (4, 2.0));
}

#[test]
fn scales_are_stabilised_by_the_root_of_the_rank() {
    let plain = settings(&json!({})).unwrap().rank_and_scale(MODULES[1]).unwrap();
    let stabilised = settings(&json!({"use_rslora": true})).unwrap().rank_and_scale(MODULES[1]).unwrap();
    assert_eq!((plain, stabilised), ((4, 2.0), (4, 4.0)));
}

#[test]
fn settings_that_change_the_numbers_are_refused_by_name() {
    for (keys, expected) in [
        (json!({"peft_type": "PREFIX_TUNING"}), "expected an adapter of type LORA, found \"PREFIX_TUNING\""),
        (json!({"peft_type": null}), "expected an adapter of type LORA, found \"\""),
        (json!({"init_lora_weights": "loftq"}), "key `init_lora_weights`: expected a base whose weights"),
        (json!({"bias": "some"}), "key `bias`: expected none, all or lora_only, found \"some\""),
        (json!({"r": 0}), "key `r`: expected a whole number from 1"),
        (json!({"rank_pattern": {"q": -1}}), "key `rank_pattern`: expected a number for \"q\", found -1"),
        (json!({"target_modules": "(("}), "key `target_modules`: expected a regular expression, found \"((\""),
        (json!({"target_modules": []}), "key `target_modules`: expected the names of modules"),
        (json!({"target_modules": [1]}), "key `target_modules`: expected a list of texts"),
        (json!({"use_qalora": true}), "key `use_qalora`: expected no setting besides"),
        (json!({"trainable_token_indices": [1]}), "key `trainable_token_indices`: expected no setting besides"),
        (json!({"unheard_of": {"a": 1}}), "key `unheard_of`: expected no setting besides"),
        (json!({"lora_bias": true, "use_dora": true}), "key `lora_bias`: expected false together with `use_dora`"),
    ] {
        let message = settings(&keys).err().unwrap();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // What stands for "no" is no setting.
    assert!(settings(&json!({"use_qalora": false, "unheard_of": null, "megatron_config": {}, "arrow": []})).is_ok());
    // An expression that would take for ever to match is an error, not a hang.
    let slow = settings(&json!({"target_modules": r"(?=(a+a+)+b)\1.*c"})).unwrap();
    let message = slow.targets(&["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]).unwrap_err().to_string();
    assert!(message.contains("expected a regular expression that can be matched"), "{message}");
}
