//! A checkpoint as a GGUF file: what [`super::layout`] reads, the other way round.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Map, Value as Json};

use super::architectures::{ARCHITECTURES, Architecture, Change, Heads, MIXTRAL, OLMO3};
use super::blocks::Quant;
use super::layout::FREQUENCY_FACTORS;
use super::scan::{Array, GgufError, Value};
use super::vocabulary_keys::vocabulary_keys;
use super::write::{GgufWriter, TensorPlan};
use crate::ckpt::{WeightFiles, widen};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// What a file is made from.
pub struct Export<'a> {
    pub name: &'a str,
    pub config: &'a Map<String, Json>,
    pub files: &'a WeightFiles,
    /// Ends of the names of stored buffers that are no parameters.
    pub buffers: &'a [&'a str],
    /// `tokenizer.json` and `tokenizer_config.json`
    pub tokenizer: &'a Json,
    pub tokenizer_config: &'a Map<String, Json>,
    /// F32, F16 or Q8_0: of matrices. Everything else is F32.
    pub quant: Quant,
    /// What each rotary frequency is divided by, where that is not said by metadata.
    pub frequency_factors: Option<Vec<f32>>,
}

/// One tensor to be written, and what it is made of.
struct Entry {
    plan: TensorPlan,
    /// Hugging Face names: one, or one for each expert.
    from: Vec<String>,
    change: Option<Change>,
}

/// Metadata that are fractions whatever the configuration's number looks like.
const FRACTIONS: &[&str] = &[
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "attention.clamp_kqv",
    "attention.scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.freq_base",
    "rope.freq_base_swa",
    "embedding_scale",
    "residual_scale",
    "logit_scale",
];

impl Export<'_> {
    /// Writes the file.
    ///
    /// # Errors
    /// Architectures, tensors and vocabularies that the format has no place for.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let architecture = self.architecture()?;
        let entries = self.entries(architecture)?;
        let mut plans: Vec<TensorPlan> = entries.iter().map(|entry| entry.plan.clone()).collect();
        plans.extend(self.frequency_factors.as_ref().map(|factors| TensorPlan {
            name: FREQUENCY_FACTORS.to_owned(),
            dims: vec![factors.len() as u64],
            quant: Quant::F32,
        }));
        let mut metadata = self.metadata(architecture, &entries);
        metadata
            .extend(vocabulary_keys(self.tokenizer, self.tokenizer_config, self.config, self.rows()).map_err(plain)?);
        let mut writer = GgufWriter::new(out, &metadata, &plans).map_err(plain)?;
        for entry in &entries {
            writer.tensor(&self.values(entry)?).map_err(plain)?;
        }
        if let Some(factors) = &self.frequency_factors {
            writer.tensor(factors).map_err(plain)?;
        }
        writer.finish().map_err(plain)?;
        Ok(())
    }

    fn architecture(&self) -> Result<&'static Architecture> {
        let model_type = self.config.get("model_type").and_then(Json::as_str).unwrap_or_default();
        let known = if model_type == "mistral" { "llama" } else { model_type };
        let mut all = ARCHITECTURES.iter().chain([&MIXTRAL, &OLMO3]);
        all.find(|architecture| architecture.model_type == known).ok_or_else(|| {
            let names: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.model_type).collect();
            Error::bad(format!("expected a model type with a GGUF architecture, found {model_type:?}"))
                .help(format!("there are {}", names.join(", ")))
        })
    }

    fn count(&self, key: &str) -> Option<usize> {
        self.config.get(key).and_then(Json::as_u64).map(|number| number as usize)
    }

    fn heads(&self) -> usize {
        self.count("num_attention_heads").or_else(|| self.count("n_head")).unwrap_or(1)
    }

    /// Rows of the embedding.
    fn rows(&self) -> usize {
        self.count("vocab_size").unwrap_or(0)
    }

    /// Every tensor of the checkpoint, in the order of the architecture's table.
    fn entries(&self, architecture: &Architecture) -> Result<Vec<Entry>> {
        let layers = self.count("num_hidden_layers").or_else(|| self.count("n_layer")).unwrap_or(0);
        let mut entries = Vec::new();
        let mut used = BTreeSet::new();
        for (stem, template) in architecture.tensors.iter().copied().flatten() {
            let places = if stem.contains("{}") { layers } else { 1 };
            for (layer, end) in (0..places).flat_map(|layer| [(layer, "weight"), (layer, "bias")]) {
                let at = |text: &str| format!("{}.{end}", text.replace("{}", &layer.to_string()));
                let (name, from) = (at(stem), self.sources(&at(template)));
                let Some(info) = from.first().and_then(|first| self.files.get(first)) else { continue };
                let fits = |(known, _): &&(&str, Change)| {
                    name.ends_with(known) || name.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with(known))
                };
                let change = architecture.changes.iter().find(fits).map(|(_, change)| *change);
                let mut dims: Vec<u64> = info.shape.iter().rev().map(|&n| n as u64).collect();
                if change == Some(Change::Transposed) {
                    dims.reverse();
                }
                if template.contains("{e}") {
                    dims.push(from.len() as u64);
                }
                let quant = self.kind(&name, &dims);
                used.extend(from.iter().cloned());
                entries.push(Entry { plan: TensorPlan { name, dims, quant }, from, change });
            }
        }
        let tied = |name: &str| name == "lm_head.weight" || name == "embed_out.weight";
        let left =
            self.files.tensors().keys().filter(|name| {
                !used.contains(*name) && !self.buffers.iter().any(|end| name.ends_with(end)) && !tied(name)
            });
        let problem = |name: &String| {
            Diagnostic::new(format!("expected a tensor that {} has a name for, found this one", architecture.name))
                .at(format!("tensor {name}"))
        };
        Error::check(left.map(problem).collect())?;
        Ok(entries)
    }

    /// The tensor of this name, or those of all experts.
    fn sources(&self, template: &str) -> Vec<String> {
        if !template.contains("{e}") {
            return vec![template.to_owned()];
        }
        let name = |expert: usize| template.replace("{e}", &expert.to_string());
        (0..self.files.tensors().len()).map(name).take_while(|name| self.files.get(name).is_some()).collect()
    }

    /// Matrices are of the wanted type, or of half precision where their rows are no whole blocks.
    fn kind(&self, name: &str, dims: &[u64]) -> Quant {
        if dims.len() < 2 || ["ffn_gate_inp.weight", "position_embd.weight"].iter().any(|end| name.ends_with(end)) {
            return Quant::F32;
        }
        if dims[0].is_multiple_of(self.quant.block_len() as u64) { self.quant } else { Quant::F16 }
    }

    fn metadata(&self, architecture: &Architecture, entries: &[Entry]) -> Vec<(String, Value)> {
        let text = |text: &str| Value::Text(text.to_owned());
        let file_type = match self.quant {
            Quant::F16 => 1,
            Quant::Q8_0 => 7,
            _ => 0,
        };
        let mut metadata = vec![
            ("general.architecture".to_owned(), text(architecture.name)),
            ("general.type".to_owned(), text("model")),
            ("general.name".to_owned(), text(self.name)),
            ("general.file_type".to_owned(), Value::U32(file_type)),
            ("general.quantization_version".to_owned(), Value::U32(2)),
        ];
        let rope = self.config.get("rope_parameters").and_then(Json::as_object);
        // Layers with a window may have a table of their own.
        let of_kind = |kind: &str| rope.and_then(|rope| rope.get(kind)).and_then(Json::as_object);
        let sliding_base = of_kind("sliding_attention").and_then(|rope| rope.get("rope_theta"));
        let rope = of_kind("full_attention").or(rope);
        let own = |key: &str| format!("{}.{key}", architecture.name);
        if let Some(base) = sliding_base.and_then(Json::as_f64) {
            metadata.push((own("rope.freq_base_swa"), Value::F32(base as f32)));
        }
        if let Some(kinds) = self.config.get("layer_types").and_then(Json::as_array)
            && self.config.get("sliding_window").is_some_and(|window| !window.is_null())
        {
            let slides = kinds.iter().map(|kind| kind == "sliding_attention").collect();
            metadata.push((own("attention.sliding_window_pattern"), Value::Array(Array::Bool(slides))));
        }
        // GPT-2's configurations may leave it out.
        let up = entries.iter().find(|entry| entry.plan.name == "blk.0.ffn_up.weight");
        let up = up.and_then(|up| u32::try_from(*up.plan.dims.get(1)?).ok());
        for (key, name) in architecture.keys.iter().copied().flatten() {
            let inner = rope.and_then(|rope| rope.get(*name)).filter(|_| *name == "rope_theta");
            let value = match inner.or_else(|| self.config.get(*name)) {
                // Written above.
                _ if *key == "rope.freq_base_swa" && sliding_base.is_some() => None,
                _ if *key == "feed_forward_length" && up.is_some() => up.map(Value::U32),
                Some(value) => typed(key, value),
                None if *key == "attention.head_count_kv" => Some(Value::U32(self.heads() as u32)),
                None => None,
            };
            metadata.extend(value.map(|value| (own(key), value)));
        }
        if let Some(width) = self.head_width() {
            let share = ["partial_rotary_factor", "rotary_pct"]
                .iter()
                .find_map(|key| rope.and_then(|rope| rope.get(*key)).or_else(|| self.config.get(*key))?.as_f64());
            let share = share.unwrap_or(match architecture.name {
                "phi2" => 0.5,
                "stablelm" | "gptneox" => 0.25,
                _ => 1.0,
            });
            let dims = (width as f64 * share) as u32;
            metadata.push((own("rope.dimension_count"), Value::U32(dims)));
        }
        let scaling = rope.or_else(|| self.config.get("rope_scaling").and_then(Json::as_object));
        metadata.extend(scaling.map(|scaling| self::scaling(architecture, scaling)).unwrap_or_default());
        metadata
    }

    fn head_width(&self) -> Option<usize> {
        self.count("head_dim").or_else(|| Some(self.count("hidden_size")? / self.heads()))
    }

    fn values(&self, entry: &Entry) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for name in &entry.from {
            let info = self.files.get(name).ok_or_else(|| Error::internal(format!("tensor {name} vanished")))?;
            let dtype = info.dtype.ok_or_else(|| {
                Error::bad(format!("expected F32, F16 or BF16, found {}", info.dtype_name)).at(format!("tensor {name}"))
            })?;
            values.extend(widen(dtype, &self.files.read_bytes(name)?));
        }
        let columns = if entry.plan.dims.len() > 1 { entry.plan.dims[0] as usize } else { 1 };
        let rows = values.len() / columns.max(1);
        let (heads, kv_heads) = (self.heads(), self.count("num_key_value_heads").unwrap_or(self.heads()));
        let by_rows = |from: &dyn Fn(usize) -> usize| -> Vec<f32> {
            (0..rows).flat_map(|row| &values[from(row) * columns..][..columns]).copied().collect()
        };
        Ok(match entry.change {
            None => values,
            Some(Change::PlusOne) => values.iter().map(|value| value + 1.0).collect(),
            // As it will be stored: `columns` inputs in a row.
            Some(Change::Transposed) => (0..values.len()).map(|i| values[i % columns * rows + i / columns]).collect(),
            Some(Change::Paired(which)) => {
                let width = rows / if which == Heads::Query { heads } else { kv_heads }.max(1);
                let half = (width / 2).max(1);
                by_rows(&|row| row / width * width + row % width % 2 * half + row % width / 2)
            }
            Some(Change::Unfused) => {
                let width = (rows / heads.max(1) / 3).max(1);
                by_rows(&|row| (row / width % heads * 3 + row / width / heads) * width + row % width)
            }
        })
    }
}

fn plain(GgufError { message, at }: GgufError) -> Error {
    Error::bad(message).at(at)
}

fn typed(key: &str, value: &Json) -> Option<Value> {
    if FRACTIONS.contains(&key) {
        return value.as_f64().map(|number| Value::F32(number as f32));
    }
    let whole = || value.as_u64().and_then(|number| u32::try_from(number).ok()).map(Value::U32);
    whole().or_else(|| value.as_bool().map(Value::Bool)).or_else(|| value.as_f64().map(|x| Value::F32(x as f32)))
}

/// Linear and YaRN scaling; what else there is has no place in the format.
fn scaling(architecture: &Architecture, scaling: &Map<String, Json>) -> Vec<(String, Value)> {
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Json::as_str).unwrap_or("default");
    if !["linear", "yarn"].contains(&kind) {
        return Vec::new();
    }
    let at = |key: &str| format!("{}.rope.scaling.{key}", architecture.name);
    let mut keys = vec![(at("type"), Value::Text(kind.to_owned()))];
    let fractions = [
        ("factor", "factor"),
        ("attention_factor", "yarn_attn_factor"),
        ("beta_fast", "yarn_beta_fast"),
        ("beta_slow", "yarn_beta_slow"),
    ];
    for (name, key) in fractions {
        keys.extend(scaling.get(name).and_then(Json::as_f64).map(|value| (at(key), Value::F32(value as f32))));
    }
    let original = scaling.get("original_max_position_embeddings").and_then(Json::as_u64);
    keys.extend(original.map(|value| (at("original_context_length"), Value::U32(value as u32))));
    keys
}
