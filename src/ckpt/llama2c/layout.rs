//! Where each weight lies, under its Hugging Face name.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::header::{Header, Version};
use super::vocabulary;
use crate::ckpt::pieces::Vocabulary;
use crate::error::{Error, Result};

/// An open file whose header is in order and whose size is what the header says.
pub struct Llama2cFile {
    path: PathBuf,
    header: Header,
}

/// A weight under its Hugging Face name.
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub place: Place,
}

/// Where a weight lies. It is read as f32.
#[derive(Debug, Clone)]
pub struct Place {
    offset: u64,
    elements: usize,
    /// Of signed bytes, how many have a scale of their own.
    group: Option<usize>,
    /// Rows of so many heads, in which the two that turn together are neighbours: `(heads, columns)`.
    paired: Option<(usize, usize)>,
}

/// One kind of weight.
#[derive(Clone, Copy)]
enum Kind {
    Embedding,
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    MlpNorm,
    Gate,
    Down,
    Up,
    FinalNorm,
    /// Cosines and sines that everybody computes anew.
    Angles,
    Head,
}

use Kind::{Angles, AttentionNorm, Down, Embedding, FinalNorm, Gate, Head, Key, MlpNorm, Output, Query, Up, Value};

const LEGACY: &[Kind] =
    &[Embedding, AttentionNorm, Query, Key, Value, Output, MlpNorm, Gate, Down, Up, FinalNorm, Angles, Head];
const LATER: &[Kind] = &[AttentionNorm, MlpNorm, FinalNorm, Embedding, Query, Key, Value, Output, Gate, Down, Up, Head];

impl Kind {
    /// The name; `{}` is the layer. Nothing for what is passed over.
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Embedding => "model.embed_tokens.weight",
            AttentionNorm => "model.layers.{}.input_layernorm.weight",
            Query => "model.layers.{}.self_attn.q_proj.weight",
            Key => "model.layers.{}.self_attn.k_proj.weight",
            Value => "model.layers.{}.self_attn.v_proj.weight",
            Output => "model.layers.{}.self_attn.o_proj.weight",
            MlpNorm => "model.layers.{}.post_attention_layernorm.weight",
            Gate => "model.layers.{}.mlp.gate_proj.weight",
            Down => "model.layers.{}.mlp.down_proj.weight",
            Up => "model.layers.{}.mlp.up_proj.weight",
            FinalNorm => "model.norm.weight",
            Angles => return None,
            Head => "lm_head.weight",
        })
    }

    fn shape(self, header: &Header) -> Vec<usize> {
        let &Header { width, mlp_width, kv_heads, vocab, context, .. } = header;
        let key = kv_heads * header.head_width();
        match self {
            Embedding | Head => vec![vocab, width],
            AttentionNorm | MlpNorm | FinalNorm => vec![width],
            Query | Output => vec![width, width],
            Key | Value => vec![key, width],
            Gate | Up => vec![mlp_width, width],
            Down => vec![width, mlp_width],
            Angles => vec![2, context, header.head_width() / 2],
        }
    }

    fn heads(self, header: &Header) -> Option<usize> {
        match self {
            Query => Some(header.heads),
            Key => Some(header.kv_heads),
            _ => None,
        }
    }
}

impl Header {
    /// The kinds of weights, in order; how many of each, and whether they are in groups.
    fn kinds(&self) -> impl Iterator<Item = (Kind, usize, Option<usize>)> {
        let order = if self.version == Version::Legacy { LEGACY } else { LATER };
        let there = |kind: &&Kind| !(self.tied && matches!(kind, Head));
        order.iter().filter(there).map(|&kind| {
            let layered = kind.name().is_some_and(|name| name.contains("{}"));
            let group = match self.version {
                Version::Grouped(group) if kind.shape(self).len() > 1 => Some(group),
                _ => None,
            };
            (kind, if layered { self.layers } else { 1 }, group)
        })
    }

    /// Bytes of a file with this header.
    fn file_bytes(&self) -> u128 {
        let bytes =
            |(kind, count, group): (Kind, usize, Option<usize>)| count as u128 * bytes(&kind.shape(self), group);
        u128::from(self.end()) + self.kinds().map(bytes).sum::<u128>()
    }
}

fn bytes(shape: &[usize], group: Option<usize>) -> u128 {
    let elements: u128 = shape.iter().map(|&size| size as u128).product();
    group.map_or(4 * elements, |group| elements + elements / group as u128 * 4)
}

impl Llama2cFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// What is wrong with it, and a file of another size than it says.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let size = file.metadata().map_err(|e| Error::io("read the size of", path, &e))?.len();
        let mut first = vec![0; size.min(Header::BYTES as u64) as usize];
        file.read_exact_at(&mut first, 0).map_err(|e| Error::io("read", path, &e))?;
        let bad = |error: Error| {
            error
                .in_file(path)
                .help("a .bin file is taken for llama2.c's; a checkpoint with pytorch_model.bin is named by its folder")
        };
        let header = Header::read(&first).map_err(bad)?;
        let wanted = header.file_bytes();
        if wanted != u128::from(size) {
            return Err(bad(Error::bad(format!("expected {wanted} bytes as the header says, found {size}"))));
        }
        for (kind, _, group) in header.kinds() {
            let elements: usize = kind.shape(&header).iter().product();
            if group.is_some_and(|group| !elements.is_multiple_of(group)) {
                return Err(bad(Error::bad(format!("expected whole groups of weights, found {elements} weights"))));
            }
        }
        Ok(Self { path: path.to_path_buf(), header })
    }

    /// The `config.json` of the checkpoint.
    pub fn config(&self) -> Map<String, Json> {
        let header = &self.header;
        let config = json!({
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": header.width,
            "intermediate_size": header.mlp_width,
            "num_hidden_layers": header.layers,
            "num_attention_heads": header.heads,
            "num_key_value_heads": header.kv_heads,
            "vocab_size": header.vocab,
            "max_position_embeddings": header.context,
            "tie_word_embeddings": header.tied,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "bos_token_id": 1,
            "eos_token_id": 2,
        });
        config.as_object().cloned().unwrap_or_default()
    }

    /// All weights.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        let mut offset = self.header.end();
        for (kind, count, group) in self.header.kinds() {
            let shape = kind.shape(&self.header);
            let elements = shape.iter().product();
            let paired = kind.heads(&self.header).map(|heads| (heads, self.header.width));
            for layer in 0..count {
                if let Some(name) = kind.name() {
                    let name = name.replace("{}", &layer.to_string());
                    tensors.push(Tensor {
                        name,
                        shape: shape.clone(),
                        place: Place { offset, elements, group, paired },
                    });
                }
                offset += bytes(&shape, group) as u64;
            }
        }
        tensors
    }

    /// The vocabulary, from the file beside this one.
    ///
    /// # Errors
    /// No such file, one that is damaged or of another size.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        vocabulary::read(&self.path, self.header.vocab)
    }
}

impl Place {
    /// What the file keeps.
    pub fn stored(&self) -> &'static str {
        if self.group.is_some() { "int8" } else { "float32" }
    }

    /// The stored type, if what is read is wider.
    pub fn widened_from(&self) -> Option<&'static str> {
        self.group.map(|_| self.stored())
    }

    /// The values as f32, rows in the order of Hugging Face's checkpoints.
    pub fn read(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes =
            vec![0; self.group.map_or(4 * self.elements, |group| self.elements + self.elements / group * 4)];
        file.read_exact_at(&mut bytes, self.offset)?;
        if let Some(group) = self.group {
            bytes = widened(&bytes, self.elements, group)?;
        }
        let Some((heads, columns)) = self.paired else { return Ok(bytes) };
        let row = 4 * columns;
        let width = bytes.len() / row / heads;
        let half = width / 2;
        // Stored row (head, pair, half) is row (head, half, pair).
        let from = |at: usize| at / width * width + at % width % half * 2 + at % width / half;
        Ok((0..bytes.len() / row).flat_map(|at| &bytes[from(at) * row..][..row]).copied().collect())
    }
}

/// Signed bytes, then the scale of each group, as f32.
fn widened(bytes: &[u8], elements: usize, group: usize) -> io::Result<Vec<u8>> {
    let (weights, scales) = bytes.split_at(elements);
    let mut values = Vec::with_capacity(4 * elements);
    for (weights, scale) in weights.chunks_exact(group).zip(scales.as_chunks().0) {
        let scale = f32::from_le_bytes(*scale);
        if !scale.is_finite() || scale < 0.0 {
            let message = format!(
                "expected scales of 0 or more behind each matrix, found {scale}: early versions of export.py wrote all \
                 scales at the end; export the model again"
            );
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        values.extend(weights.iter().flat_map(|weight| (f32::from(weight.cast_signed()) * scale).to_le_bytes()));
    }
    Ok(values)
}
