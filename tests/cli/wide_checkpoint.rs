//! A llama of random weights whose products are cut into several chunks (256) and runs (2048) of the inner dimension.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::random_checkpoint::values;

const WIDTH: usize = 320;
const MLP: usize = 2304;
const HEADS: usize = 5;
const HEAD: usize = 64;
const LAYERS: usize = 2;
const VOCAB: usize = 512;

/// With the tokenizer of `tokenizer`, whose ids are below 512.
pub fn folder(tokenizer: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wide_llama_{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(tokenizer.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": MLP, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": 1, "vocab_size": VOCAB, "tie_word_embeddings": true,
        "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![VOCAB, WIDTH]), norm("model.norm")];
    for layer in 0..LAYERS {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        shapes.extend(["input_layernorm", "post_attention_layernorm"].map(|name| norm(&at(name))));
        for (name, out, input) in [
            ("self_attn.q_proj", HEADS * HEAD, WIDTH),
            ("self_attn.k_proj", HEAD, WIDTH),
            ("self_attn.v_proj", HEAD, WIDTH),
            ("self_attn.o_proj", WIDTH, HEADS * HEAD),
            ("mlp.gate_proj", MLP, WIDTH),
            ("mlp.up_proj", MLP, WIDTH),
            ("mlp.down_proj", WIDTH, MLP),
        ] {
            shapes.push((at(&format!("{name}.weight")), vec![out, input]));
        }
    }
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let bytes: Vec<u8> = values(&name, shape.iter().product()).iter().flat_map(|v| v.to_le_bytes()).collect();
        (name, shape, bytes)
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes.into_iter().map(tensor).collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    folder
}

fn norm(name: &str) -> (String, Vec<usize>) {
    (format!("{name}.weight"), vec![WIDTH])
}
