//! The model that is trained: its configuration and its first weights.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::lab::random::Stream;

/// Shape of a Llama-shaped model with tied embeddings: RMS norms, rotary positions, gated MLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of the MLP's hidden layer.
    pub mlp: usize,
    /// Positions that the configuration names; sequences of training are as long.
    pub context: usize,
    /// Standard deviation of the first weights; those that write into the residual stream get `1/sqrt(2 layers)` of it.
    #[serde(default = "usual_deviation")]
    pub init_std: f64,
}

fn usual_deviation() -> f64 {
    0.02
}

impl Shape {
    /// `config.json` as transformers writes it for `LlamaForCausalLM`. The end token begins texts, too.
    pub fn config(&self, vocab: usize, end: u32, dtype: &str) -> Map<String, Value> {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "bos_token_id": end,
            "eos_token_id": end,
            "head_dim": self.width / self.heads.max(1),
            "hidden_act": "silu",
            "hidden_size": self.width,
            "initializer_range": self.init_std,
            "intermediate_size": self.mlp,
            "max_position_embeddings": self.context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": true,
            "torch_dtype": dtype,
            "vocab_size": vocab,
        });
        match config {
            Value::Object(config) => config,
            _ => Map::new(),
        }
    }

    /// The first weights: gains of one, matrices from a normal distribution (GPT-2's scheme). Each parameter draws from
    /// the stream of its own name.
    pub fn first_weights(&self, parameters: &BTreeMap<String, Vec<usize>>, seed: u64) -> BTreeMap<String, Vec<f32>> {
        let into_residual = 1.0 / (2.0 * self.layers as f64).sqrt();
        let first = |(name, shape): (&String, &Vec<usize>)| {
            let count = shape.iter().product();
            let writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
            let deviation = self.init_std * if writes { into_residual } else { 1.0 };
            let values = if shape.len() < 2 {
                vec![1.0; count]
            } else {
                normals(&mut Stream::new(seed, &["weights", name]), count, deviation)
            };
            (name.clone(), values)
        };
        parameters.iter().map(first).collect()
    }
}

/// Box and Muller's transform, in double precision from the pure-Rust `libm`.
fn normals(stream: &mut Stream, count: usize, deviation: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = deviation * libm::sqrt(-2.0 * libm::log(1.0 - stream.unit()));
        let angle = TAU * stream.unit();
        values.extend([(radius * libm::cos(angle)) as f32, (radius * libm::sin(angle)) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_weights_have_the_deviations_that_they_should() {
        let shape = Shape { layers: 8, width: 64, heads: 4, kv_heads: 4, mlp: 128, context: 64, init_std: 0.02 };
        let parameters = BTreeMap::from([
            ("model.norm.weight".to_owned(), vec![64]),
            ("a.q_proj.weight".to_owned(), vec![200, 200]),
            ("a.o_proj.weight".to_owned(), vec![200, 200]),
        ]);
        let weights = shape.first_weights(&parameters, 7);
        let moments = |name: &str| {
            let values = &weights[name];
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            let squares = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
            (mean, (squares / values.len() as f64).sqrt())
        };
        // 40,000 draws: the deviation's standard error is 0.35 %, the mean's 0.0001.
        let (mean, deviation) = moments("a.q_proj.weight");
        assert!(mean.abs() < 5e-4 && (deviation / 0.02 - 1.0).abs() < 0.02, "{mean} {deviation}");
        assert!((moments("a.o_proj.weight").1 / 0.005 - 1.0).abs() < 0.02);
        assert!(weights["model.norm.weight"].iter().all(|&gain| gain == 1.0));
        assert_eq!(weights, shape.first_weights(&parameters, 7));
        assert_ne!(weights, shape.first_weights(&parameters, 8));
    }
}
