//! Configuration and tensors of a GGUF file under the names of the Hugging Face checkpoint that it was made from.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::architectures::{ARCHITECTURES, Architecture, Change, Constant, Heads, MIXTRAL, OLMO3};
use super::blocks::{Quant, values};
use super::header::{Gguf, TensorInfo};
use super::scan::{GgufError, Value};
use crate::ckpt::Dtype;
use crate::ckpt::pieces::Vocabulary;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// A part of the configuration that is stored as a tensor, and a bound of its length.
pub(super) const FREQUENCY_FACTORS: &str = "rope_freqs.weight";
const MAX_FREQUENCIES: u64 = 1 << 12;

/// An open file whose header is in order.
pub struct GgufFile {
    path: PathBuf,
    header: Gguf,
    architecture: &'static Architecture,
}

/// Where a tensor lies in its file and what is done to its values.
#[derive(Debug, Clone)]
pub struct Place {
    offset: u64,
    bytes: usize,
    quant: Quant,
    /// As stored: rows of this many elements.
    columns: usize,
    change: Option<Reorder>,
}

/// A change with the numbers that undo it.
#[derive(Debug, Clone, Copy)]
enum Reorder {
    /// Rows of each of so many heads.
    Unpair {
        heads: usize,
    },
    LessOne,
    Transpose,
    /// Rows of so many heads.
    Fuse {
        heads: usize,
    },
}

/// A tensor under its Hugging Face name.
pub struct Tensor {
    pub name: String,
    /// As the configuration's model has it.
    pub shape: Vec<usize>,
    /// ggml's name of the stored type.
    pub stored: &'static str,
    pub place: Place,
}

impl GgufFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// What is wrong with the file, and an architecture that is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let header = Gguf::read(&file).map_err(|GgufError { message, at }| {
            Error::bad(message).in_file(path).at(at).help("the file is cut short, damaged or no GGUF file")
        })?;
        let name = header.get("general.architecture").and_then(Value::as_text).unwrap_or_default();
        let architecture = match ARCHITECTURES.iter().find(|known| known.name == name) {
            Some(_) if name == "llama" && header.get("llama.expert_count").is_some() => &MIXTRAL,
            Some(_) if name == "olmo2" && header.get("olmo2.attention.sliding_window").is_some() => &OLMO3,
            Some(known) => known,
            None => {
                let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
                return Err(Error::bad(format!("expected a supported `general.architecture`, found {name:?}"))
                    .in_file(path)
                    .help(format!("supported are {}", known.join(", "))));
            }
        };
        if header.get("split.count").and_then(Value::as_u64).is_some_and(|parts| parts > 1) {
            return Err(Error::bad("expected a whole file, found one part of several")
                .in_file(path)
                .help("join the parts with `llama-gguf-split --merge`"));
        }
        Ok(Self { path: path.to_path_buf(), header, architecture })
    }

    pub fn vocabulary(&self) -> Result<Vocabulary> {
        Vocabulary::read(&self.header)
            .map_err(|GgufError { message, at }| Error::bad(message).in_file(&self.path).at(at))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(&format!("{}.{key}", self.architecture.name))
    }

    fn count(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_u64)
    }

    fn has(&self, tensor: &str) -> bool {
        self.header.tensors.contains_key(tensor)
    }

    /// The `config.json` of the checkpoint.
    ///
    /// # Errors
    /// Values that a configuration cannot have.
    pub fn config(&self) -> Result<Map<String, Json>> {
        let mut config = Map::new();
        let mut problems = Vec::new();
        config.insert("model_type".to_owned(), json!(self.architecture.model_type));
        for (key, name) in self.architecture.keys.iter().copied().flatten() {
            let Some(value) = self.get(key) else { continue };
            match plain(value) {
                Some(value) => _ = config.insert((*name).to_owned(), value),
                None => problems.push(
                    Diagnostic::new("expected one number for all layers, found several")
                        .in_file(&self.path)
                        .at(format!("key {}.{key}", self.architecture.name)),
                ),
            }
        }
        Error::check(problems)?;
        for (key, value) in self.architecture.constants {
            let value = match value {
                Constant::Flag(flag) => json!(flag),
                Constant::Text(text) => json!(text),
            };
            config.insert((*key).to_owned(), value);
        }
        if let Some(embedding) = self.header.tensors.get("token_embd.weight").and_then(|info| info.dims.get(1)) {
            config.insert("vocab_size".to_owned(), json!(embedding));
        }
        // The metadata say four times the width where the configuration said otherwise.
        if let Some(width) = self.header.tensors.get("blk.0.ffn_up.weight").and_then(|info| info.dims.get(1)) {
            let key = if self.architecture.name == "gpt2" { "n_inner" } else { "intermediate_size" };
            config.insert(key.to_owned(), json!(width));
        }
        config.insert("tie_word_embeddings".to_owned(), json!(!self.has("output.weight")));
        let query_bias = self.has("blk.0.attn_q.bias") || self.has("blk.0.attn_qkv.bias");
        for (key, flag) in [
            ("attention_bias", query_bias),
            ("use_qkv_bias", query_bias),
            ("qk_layernorm", self.has("blk.0.attn_q_norm.weight")),
            ("mlp_bias", self.has("blk.0.ffn_gate.bias")),
        ] {
            config.insert(key.to_owned(), json!(flag));
        }
        self.rotary(&mut config)?;
        self.own_rules(&mut config);
        for (key, name) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")] {
            if let Some(id) = self.header.get(&format!("tokenizer.ggml.{key}")).and_then(Value::as_u64) {
                config.insert(name.to_owned(), json!(id));
            }
        }
        Ok(config)
    }

    fn head_width(&self) -> Option<u64> {
        let shared = || Some(self.count("embedding_length")? / self.count("attention.head_count")?.max(1));
        self.count("attention.key_length").or_else(shared)
    }

    /// The turning share of each head, and the scaling.
    fn rotary(&self, config: &mut Map<String, Json>) -> Result<()> {
        if let (Some(dims), Some(width)) = (self.count("rope.dimension_count"), self.head_width())
            && dims < width
        {
            let key = if self.architecture.name == "gptneox" { "rotary_pct" } else { "partial_rotary_factor" };
            // A share that gives the count back when it is truncated.
            config.insert(key.to_owned(), json!((dims as f64 + 0.25) / width as f64));
        } else if self.architecture.name == "gptneox" {
            config.insert("rotary_pct".to_owned(), json!(1.0));
        } else if ["phi2", "stablelm"].contains(&self.architecture.name) {
            config.insert("partial_rotary_factor".to_owned(), json!(1.0));
        }
        let number = |key: &str| self.get(&format!("rope.scaling.{key}")).and_then(plain);
        let kind = self.get("rope.scaling.type").and_then(Value::as_text).unwrap_or("none");
        let mut scaling = Map::new();
        if kind != "none" {
            scaling.insert("rope_type".to_owned(), json!(kind));
            for (key, name) in [
                ("factor", "factor"),
                ("original_context_length", "original_max_position_embeddings"),
                ("yarn_attn_factor", "attention_factor"),
                ("yarn_beta_fast", "beta_fast"),
                ("yarn_beta_slow", "beta_slow"),
            ] {
                scaling.extend(number(key).map(|value| (name.to_owned(), value)));
            }
        }
        // Llama 3's scaling is stored as what it divides each frequency by.
        if let Some(factors) = self.frequency_factors()? {
            scaling.insert("rope_type".to_owned(), json!("divided"));
            scaling.insert("factors".to_owned(), json!(factors));
        }
        if self.architecture.model_type == "olmo3" {
            // Layers with a window have a base of their own and no scaling.
            let base = |key: &str| self.get(key).and_then(plain).map(|base| ("rope_theta".to_owned(), base));
            scaling.extend(base("rope.freq_base"));
            scaling.entry("rope_type").or_insert_with(|| json!("default"));
            let sliding: Map<String, Json> =
                base("rope.freq_base_swa").or_else(|| base("rope.freq_base")).into_iter().collect();
            let both = json!({"full_attention": scaling, "sliding_attention": sliding});
            config.insert("rope_parameters".to_owned(), both);
        } else if !scaling.is_empty() {
            config.insert("rope_scaling".to_owned(), Json::Object(scaling));
        }
        Ok(())
    }

    fn frequency_factors(&self) -> Result<Option<Vec<f32>>> {
        let Some(info) = self.header.tensors.get(FREQUENCY_FACTORS) else { return Ok(None) };
        let failed =
            |message: String| Error::bad(message).in_file(&self.path).at(format!("tensor {FREQUENCY_FACTORS}"));
        if info.quant != Some(Quant::F32) || info.elements() > MAX_FREQUENCIES {
            return Err(failed(format!("expected at most {MAX_FREQUENCIES} values of F32, found {:?}", info.dims)));
        }
        let file = File::open(&self.path).map_err(|e| Error::io("open", &self.path, &e))?;
        let mut bytes = vec![0; info.bytes as usize];
        file.read_exact_at(&mut bytes, info.offset).map_err(|e| Error::io("read", &self.path, &e))?;
        Ok(Some(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }

    /// What llama.cpp knows about an architecture and no file says.
    fn own_rules(&self, config: &mut Map<String, Json>) {
        let layers = self.count("block_count").unwrap_or(0);
        let largest = match self.architecture.name {
            "gemma2" => Some(46),
            "gemma3" => Some(62),
            _ => None,
        };
        if let Some(largest) = largest {
            // The largest Gemma scales by the width's share of each head, the others by the head's width.
            let share = self.count("embedding_length").zip(self.count("attention.head_count"));
            let scalar = match share {
                Some((width, heads)) if layers == largest => width / heads.max(1),
                _ => self.head_width().unwrap_or(256),
            };
            config.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
        }
        if let Some(pattern) = self.get("attention.sliding_window_pattern").and_then(Value::as_array)
            && let Some(slides) = pattern.as_bools()
        {
            let kind = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
            config.insert("layer_types".to_owned(), json!(slides.iter().map(kind).collect::<Vec<_>>()));
        }
        if self.architecture.name == "gemma2" {
            // Both caps are written where there are some.
            for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
                config.entry(key).or_insert(Json::Null);
            }
        }
    }

    /// All tensors, under their names.
    ///
    /// # Errors
    /// Names that the architecture does not have, and types that cannot be read.
    pub fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = Vec::new();
        let mut problems = Vec::new();
        for (name, info) in self.header.tensors.iter().filter(|(name, _)| *name != FREQUENCY_FACTORS) {
            let problem = |message: String| Diagnostic::new(message).in_file(&self.path).at(format!("tensor {name}"));
            let Some((template, end, layer)) = self.template(name) else {
                problems.push(problem(format!("expected a tensor of {}, found this one", self.architecture.name)));
                continue;
            };
            let Some(quant) = info.quant else {
                let known = Quant::ALL.map(Quant::name).join(", ");
                let found = info.ggml_type;
                problems.push(problem(format!("expected a type among {known}, found ggml's type {found}")));
                continue;
            };
            let named = template.replace("{}", layer);
            if named.contains("{e}") {
                let [columns, rows, experts] = info.dims[..] else {
                    problems.push(problem(format!("expected three dimensions, found {:?}", info.dims)));
                    continue;
                };
                let bytes = info.bytes / experts.max(1);
                for expert in 0..experts {
                    let part = TensorInfo {
                        dims: vec![columns, rows],
                        offset: info.offset + expert * bytes,
                        bytes,
                        ..info.clone()
                    };
                    let name = format!("{}.{end}", named.replace("{e}", &expert.to_string()));
                    tensors.push(Self::tensor(name, &part, quant, None));
                }
            } else {
                tensors.push(Self::tensor(format!("{named}.{end}"), info, quant, self.change(name)));
            }
        }
        Error::check(problems)?;
        Ok(tensors)
    }

    /// The Hugging Face stem, what follows it, and the layer.
    fn template<'a>(&self, name: &'a str) -> Option<(&'static str, &'a str, &'a str)> {
        let (stem, end) = name.rsplit_once('.')?;
        let (layer, stem) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => (layer, format!("blk.{{}}.{rest}")),
            None => ("", stem.to_owned()),
        };
        let (_, template) = self.architecture.tensors.iter().copied().flatten().find(|(known, _)| *known == stem)?;
        Some((template, end, layer))
    }

    fn change(&self, name: &str) -> Option<Reorder> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let fits = |end: &str| name.ends_with(end) || stem.ends_with(end);
        let (_, change) = self.architecture.changes.iter().find(|(end, _)| fits(end))?;
        let heads = self.count("attention.head_count").unwrap_or(1) as usize;
        Some(match change {
            Change::Paired(Heads::Query) => Reorder::Unpair { heads },
            Change::Paired(Heads::Key) => {
                Reorder::Unpair { heads: self.count("attention.head_count_kv").map_or(heads, |heads| heads as usize) }
            }
            Change::PlusOne => Reorder::LessOne,
            Change::Transposed => Reorder::Transpose,
            Change::Unfused => Reorder::Fuse { heads },
        })
    }

    fn tensor(name: String, info: &TensorInfo, quant: Quant, change: Option<Reorder>) -> Tensor {
        let mut shape: Vec<usize> = info.dims.iter().rev().map(|&n| n as usize).collect();
        if matches!(change, Some(Reorder::Transpose)) {
            shape.reverse();
        }
        let columns = if info.dims.len() > 1 { info.dims[0] as usize } else { 1 };
        let place = Place { offset: info.offset, bytes: info.bytes as usize, quant, columns, change };
        Tensor { name, shape, stored: quant.name(), place }
    }
}

/// A number, flag or text; of an array, what all its elements are.
fn plain(value: &Value) -> Option<Json> {
    if let Some(array) = value.as_array() {
        let numbers = array.as_u64s()?;
        let first = *numbers.first()?;
        return numbers.iter().all(|number| *number == first).then(|| json!(first));
    }
    let whole = || value.as_u64().map(|number| json!(number));
    let text = || value.as_text().map(|text| json!(text));
    let flag = || value.as_bool().map(|flag| json!(flag));
    // The shortest decimal that is this f32 is what the configuration said.
    let fraction = || match value {
        Value::F32(x) => x.to_string().parse::<f64>().ok().map(|number| json!(number)),
        _ => value.as_f64().map(|number| json!(number)),
    };
    whole().or_else(fraction).or_else(flag).or_else(text)
}

impl Place {
    /// What is read: the stored elements, also those of blocks that kernels know; f32 in place of other blocks.
    pub fn dtype(&self) -> Dtype {
        let by_rows = self.columns > 1 && !matches!(self.change, Some(Reorder::Transpose));
        match self.quant {
            _ if matches!(self.change, Some(Reorder::LessOne)) => Dtype::F32,
            Quant::F16 => Dtype::F16,
            Quant::Bf16 => Dtype::Bf16,
            Quant::Q8_0 if by_rows => Dtype::Q8_0,
            Quant::Q4K if by_rows => Dtype::Q4K,
            _ => Dtype::F32,
        }
    }

    /// The stored type, if what is read is wider.
    pub fn widened_from(&self) -> Option<&'static str> {
        (self.dtype() == Dtype::F32 && self.quant != Quant::F32).then(|| self.quant.name())
    }

    /// The values as the checkpoint has them, of that type.
    pub fn read(&self, file: &File) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes];
        file.read_exact_at(&mut bytes, self.offset)?;
        let dtype = self.dtype();
        if dtype == Dtype::F32 && self.quant != Quant::F32 {
            bytes = values(self.quant, &bytes).iter().flat_map(|value| value.to_le_bytes()).collect();
        }
        let row = dtype.size(self.columns).max(1);
        let rows = bytes.len() / row;
        Ok(match self.change {
            None => bytes,
            Some(Reorder::LessOne) => less_one(&bytes),
            Some(Reorder::Transpose) => reordered(&bytes, dtype.size(1), |i| i % rows * self.columns + i / rows),
            // Stored row (head, pair, half) is row (head, half, pair).
            Some(Reorder::Unpair { heads }) => {
                let width = rows / heads.max(1);
                let half = (width / 2).max(1);
                let from = |row: usize| row / width * width + row % width % half * 2 + row % width / half;
                if width.is_multiple_of(2) { reordered(&bytes, row, from) } else { bytes }
            }
            // Stored row (part, head, entry) is row (head, part, entry).
            Some(Reorder::Fuse { heads }) => {
                let width = (rows / heads.max(1) / 3).max(1);
                let from = |row: usize| (row / width % 3 * heads + row / width / 3) * width + row % width;
                reordered(&bytes, row, from)
            }
        })
    }
}

/// Pieces of `size` bytes, of which number i comes from place `from(i)`.
fn reordered(bytes: &[u8], size: usize, from: impl Fn(usize) -> usize) -> Vec<u8> {
    (0..bytes.len() / size.max(1)).flat_map(|i| &bytes[from(i) * size..][..size]).copied().collect()
}

fn less_one(bytes: &[u8]) -> Vec<u8> {
    bytes.as_chunks().0.iter().flat_map(|bytes| (f32::from_le_bytes(*bytes) - 1.0).to_le_bytes()).collect()
}
