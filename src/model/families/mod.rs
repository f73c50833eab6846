//! Families as data: how a configuration reads into a [`DecoderSpec`], and what the weights are called.
//!
//! To add a family, write one file beside these and one line in [`FAMILIES`].

mod gemma;
mod gpt2;
mod gpt_neox;
mod granite;
mod llama;
mod mistral;
mod olmo;
mod parts;
mod phi;
mod qwen;
mod rope;
mod stablelm;

use super::spec::DecoderSpec;
use super::weights::{Source, Weights};
use crate::ckpt::{Config, ConfigReader};
use crate::error::{Error, Result};
use crate::kernels::Activation;

/// A spec, and where each of its weights is stored.
pub struct Described {
    pub spec: DecoderSpec,
    pub weights: Weights<Source, Source>,
}

/// One family.
pub struct Family {
    /// The `model_type` of its configurations.
    pub model_type: &'static str,
    /// Its class in transformers.
    pub class: &'static str,
    /// Checkpoints in the family's layout.
    pub examples: &'static str,
    /// What sets it apart.
    pub about: &'static str,
    read: fn(&mut ConfigReader<'_>) -> Described,
    /// A prefix of tensor names that some checkpoints leave out.
    pub optional_prefix: &'static str,
    /// Ends of the names of stored buffers that are no parameters.
    pub buffers: &'static [&'static str],
}

/// Every supported family.
pub const FAMILIES: &[Family] = &[
    llama::FAMILY,
    mistral::MISTRAL,
    mistral::MIXTRAL,
    qwen::QWEN2,
    qwen::QWEN3,
    qwen::QWEN3_MOE,
    olmo::OLMO,
    olmo::OLMO2,
    olmo::OLMO3,
    olmo::OLMOE,
    gemma::GEMMA2,
    gemma::GEMMA3,
    phi::FAMILY,
    stablelm::FAMILY,
    granite::FAMILY,
    gpt2::FAMILY,
    gpt_neox::FAMILY,
];

/// Tables that old checkpoints store and everybody computes anew.
const ROTARY_BUFFERS: &[&str] = &["rotary_emb.inv_freq"];

/// Ends of the names of architectures that predict the next token.
const HEADS: [&str; 2] = ["ForCausalLM", "LMHeadModel"];

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
        if let Some(names) = reader.texts("architectures")
            && !names.iter().any(|name| HEADS.iter().any(|head| name.ends_with(head)))
        {
            reader.refuse("architectures", "expected a causal language model");
        }
        let described = (self.read)(&mut reader);
        let spec = &described.spec;
        if spec.layers > parts::MOST_LAYERS {
            reader.problem(
                "num_hidden_layers",
                &format!("expected at most {}, found {}", parts::MOST_LAYERS, spec.layers),
            );
        }
        if let Some(mixture) = &spec.mlp.mixture
            && (mixture.chosen > mixture.experts || mixture.experts > parts::MOST_EXPERTS)
        {
            let most = mixture.experts.min(parts::MOST_EXPERTS);
            let found = mixture.chosen.max(mixture.experts);
            reader.problem("num_experts_per_tok", &format!("expected at most {most} experts, found {found}"));
        }
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
        assert!(message(r#"{"model_type": "mamba"}"#).contains("supported are llama, mistral, mixtral, qwen2"));
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
