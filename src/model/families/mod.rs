//! Families as data: how a configuration reads into a [`DecoderSpec`], and what the weights are called.
//!
//! To add a family, write one file beside these and one line in [`FAMILIES`].

mod gpt2;
mod gpt_neox;
mod llama;

use super::spec::DecoderSpec;
use super::weights::{Source, Weights};
use crate::ckpt::{Config, ConfigReader};
use crate::error::{Error, Result};
use crate::kernels::{Activation, RotaryScaling};

/// A spec, and where each of its weights is stored.
pub struct Described {
    pub spec: DecoderSpec,
    pub weights: Weights<Source, Source>,
}

/// One family.
pub struct Family {
    /// The `model_type` of its configurations.
    pub model_type: &'static str,
    /// Checkpoints in the family's layout.
    pub examples: &'static str,
    read: fn(&mut ConfigReader<'_>) -> Described,
    /// A prefix of tensor names that some checkpoints leave out.
    pub optional_prefix: &'static str,
    /// Ends of the names of stored buffers that are no parameters.
    pub buffers: &'static [&'static str],
}

/// Every supported family.
pub const FAMILIES: &[Family] = &[llama::FAMILY, gpt2::FAMILY, gpt_neox::FAMILY];

impl Family {
    pub fn of(config: &Config) -> Result<&'static Self> {
        let model_type = config.model_type()?;
        FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
            Error::bad(format!("expected a supported `model_type`, found {model_type:?}"))
                .in_file(&config.path)
                .help(format!("supported are {}", known.join(", ")))
        })
    }

    /// Reads the whole configuration, reporting every problem at once.
    pub fn describe(&self, config: &Config) -> Result<Described> {
        let mut reader = ConfigReader::new(config);
        if config.values.contains_key("quantization_config") {
            reader.refuse("quantization_config", "expected plain weights");
        }
        let described = (self.read)(&mut reader);
        let spec = &described.spec;
        if !spec.heads.is_multiple_of(spec.kv_heads) {
            reader.problem(
                "num_key_value_heads",
                &format!("expected a divisor of the {} heads, found {}", spec.heads, spec.kv_heads),
            );
        }
        Error::check(reader.into_problems())?;
        Ok(described)
    }
}

/// The activation under `key`.
fn activation(reader: &mut ConfigReader<'_>, key: &str, default: &'static str) -> Activation {
    let name = reader.text_or(key, default).to_owned();
    if let Some((_, activation)) = Activation::NAMES.iter().find(|(known, _)| *known == name) {
        *activation
    } else {
        let known: Vec<&str> = Activation::NAMES.iter().map(|(name, _)| *name).collect();
        reader.refuse(key, &format!("expected one of {}", known.join(", ")));
        Activation::Silu
    }
}

/// Base, share of each head that turns, and scaling, from `rope_parameters` (transformers 5) or from `rope_scaling`
/// and the family's own keys (transformers 4).
struct Rope {
    theta: f64,
    fraction: f64,
    scaling: RotaryScaling,
}

fn rope(reader: &mut ConfigReader<'_>, theta_key: &str, fraction_key: &str, default_fraction: f64) -> Rope {
    let theta = reader.number_or(theta_key, 10_000.0);
    let fraction = reader.number_or(fraction_key, default_fraction);
    let context = reader.optional_count("max_position_embeddings");
    let Some((key, object)) =
        ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| Some((key, reader.object(key)?)))
    else {
        return checked(reader, Rope { theta, fraction, scaling: RotaryScaling::None });
    };
    let mut inner = reader.nested(object);
    let theta = inner.number_or("rope_theta", theta);
    let fraction = inner.number_or("partial_rotary_factor", fraction);
    // Old configurations say `type`.
    let kind = inner.text_or(if inner.has("rope_type") { "rope_type" } else { "type" }, "default");
    let scaling = match kind {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: positive(&mut inner, "factor", None) },
        "llama3" => RotaryScaling::Llama3 {
            factor: positive(&mut inner, "factor", None),
            low_freq_factor: positive(&mut inner, "low_freq_factor", None),
            high_freq_factor: positive(&mut inner, "high_freq_factor", None),
            original_context: positive(&mut inner, "original_max_position_embeddings", None),
        },
        "yarn" => yarn(&mut inner, context),
        other => {
            inner.problem(
                "rope_type",
                &format!("expected one of default, linear, llama3, yarn, found {other:?}{}", why_not(other)),
            );
            RotaryScaling::None
        }
    };
    let problems = inner.into_problems();
    reader.absorb(problems.into_iter().map(|p| p.help(format!("see `{key}`"))).collect());
    checked(reader, Rope { theta, fraction, scaling })
}

fn checked(reader: &mut ConfigReader<'_>, rope: Rope) -> Rope {
    if rope.theta <= 1.0 {
        reader.problem("rope_theta", &format!("expected a number above 1, found {}", rope.theta));
    }
    if !(0.0..=1.0).contains(&rope.fraction) {
        reader.problem("partial_rotary_factor", &format!("expected a share from 0 to 1, found {}", rope.fraction));
    }
    rope
}

/// YaRN with the defaults of transformers 5.23. The attention factor multiplies cosines and sines.
fn yarn(inner: &mut ConfigReader<'_>, context: Option<usize>) -> RotaryScaling {
    let factor = positive(inner, "factor", None);
    let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let attention_factor = match (inner.has("attention_factor"), inner.has("mscale") && inner.has("mscale_all_dim")) {
        (true, _) => positive(inner, "attention_factor", None),
        (false, true) => {
            magnitude(positive(inner, "mscale", None)) / magnitude(positive(inner, "mscale_all_dim", None))
        }
        (false, false) => magnitude(1.0),
    };
    RotaryScaling::Yarn {
        factor,
        beta_fast: positive(inner, "beta_fast", Some(32.0)),
        beta_slow: positive(inner, "beta_slow", Some(1.0)),
        original_context: positive(inner, "original_max_position_embeddings", context.map(|n| n as f64)),
        truncate: inner.flag_or("truncate", true),
        attention_factor,
    }
}

fn positive(reader: &mut ConfigReader<'_>, key: &str, default: Option<f64>) -> f64 {
    if !reader.has(key) && default.is_none() {
        reader.problem(key, "expected a number above 0, found none");
        return 1.0;
    }
    let value = reader.number_or(key, default.unwrap_or(1.0));
    if value <= 0.0 {
        reader.problem(key, &format!("expected a number above 0, found {value}"));
        return 1.0;
    }
    value
}

fn why_not(kind: &str) -> &'static str {
    match kind {
        "dynamic" | "longrope" | "su" => {
            ", which depends on the length of each text: a shared prefix would have no fixed meaning"
        }
        _ => "",
    }
}

/// Refuses flags that would change the forward pass when they are set.
fn refuse_if_true(reader: &mut ConfigReader<'_>, key: &str) {
    if reader.object(key).is_none() && reader.flag_or(key, false) {
        reader.refuse(key, "expected false");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn describe(json: &str) -> Result<Described> {
        let config = Config {
            path: PathBuf::from("config.json"),
            values: serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).unwrap(),
        };
        Family::of(&config)?.describe(&config)
    }

    fn message(json: &str) -> String {
        describe(json).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn unsupported_things_are_named_with_what_is_supported() {
        assert!(message(r#"{"model_type": "mamba"}"#).contains("supported are llama, gpt2, gpt_neox"));
        let llama = r#"{"model_type":"llama","hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":8,"vocab_size":9"#;
        let dynamic = message(&format!(r#"{llama},"rope_scaling":{{"type":"dynamic","factor":2.0}}}}"#));
        assert!(dynamic.contains("expected one of default, linear, llama3, yarn, found \"dynamic\""), "{dynamic}");
        let several = message(r#"{"model_type":"llama","hidden_size":8,"num_attention_heads":0,"hidden_act":"mish"}"#);
        for part in ["num_attention_heads", "num_hidden_layers", "hidden_act", "vocab_size"] {
            assert!(several.contains(part), "{part} missing in {several}");
        }
        assert!(message(&format!("{llama},\"num_key_value_heads\":3}}")).contains("expected a divisor of the 2 heads"));
        assert!(message(&format!("{llama},\"quantization_config\":{{}}}}")).contains("expected plain weights"));
    }
}
