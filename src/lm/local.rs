//! A checkpoint, run on this machine.

use std::path::Path;

use serde_json::Value;

use super::generate::Rules;
use super::memory::Room;
use super::passes::{Limits, Passes};
use super::{Answers, LanguageModel, ModelInfo, Sink, memory};
use crate::ckpt::{Address, Config};
use crate::ctx;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::cpu::{Cpu, Isa};
use crate::model::families::Family;
use crate::model::{Decoder, Footprint, LoadOptions, Taps, load};
use crate::request::{Ask, GradAt, GradSpan, Plan, Request, Response, TopLogits};
use crate::text::Tokenizer;
use crate::util::files;

/// lm-evaluation-harness's length for models that name none.
const DEFAULT_MAX_LENGTH: usize = 2048;

/// How a checkpoint is loaded and run. The numbers depend on the first two, and on neither of the others.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Score a checkpoint although it has NaN or infinite weights.
    pub allow_nonfinite: bool,
    /// Whether texts begin with the beginning-of-sequence token; `None` leaves it to the folder.
    pub add_bos: Option<bool>,
    /// Tokens of one forward pass.
    pub batch_tokens: usize,
    /// Bytes that the process may hold; `None` for most of what the machine has free.
    pub max_memory: Option<usize>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { allow_nonfinite: false, add_bos: None, batch_tokens: Self::BATCH_TOKENS, max_memory: None }
    }
}

impl LocalOptions {
    /// Products reach their full speed at about 256 rows.
    pub const BATCH_TOKENS: usize = 512;
}

/// The CPU kernels on some threads, with the best instruction set of this machine or the one that `VEVAL_ISA` names.
pub fn cpu(threads: usize) -> Result<Cpu> {
    let isa = match ctx::instruction_set() {
        None => Isa::best(),
        Some(name) => Isa::named(&name).ok_or_else(|| {
            let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
            Error::bad(format!("VEVAL_ISA: expected one of {}, found {name:?}", names.join(", ")))
        })?,
    };
    Ok(Cpu::new(isa, threads))
}

/// A decoder, its tokenizer, and how to run them.
pub struct Local<K: Kernels = Cpu> {
    decoder: Decoder<K>,
    tokenizer: Tokenizer,
    info: ModelInfo,
    rows: usize,
    memory: usize,
    /// Bytes of the weights once all forms of them are there.
    weights: usize,
    /// Answers [`Ask::Grad`], on kernels that record.
    pub(super) gradients: Option<GradientsOf<K>>,
}

/// Gradients that a request asks for.
pub(super) type GradientsOf<K> = fn(&Local<K>, &Request, GradSpan, &GradAt) -> Result<Response>;

impl<K: Kernels> Local<K> {
    /// Loads a checkpoint. An adapter speaks with the tokenizer of its base.
    ///
    /// # Errors
    /// Everything that is wrong with configuration, tokenizer and weights, and a memory limit that is too small.
    pub fn open(checkpoint: impl Into<Address>, kernels: K, options: &LocalOptions) -> Result<Self> {
        let checkpoint = checkpoint.into();
        let folder = checkpoint.base.as_path();
        let (rows, memory) = (options.batch_tokens.max(1), memory::limit(options.max_memory));
        let footprint = Footprint::of_checkpoint::<K>(&checkpoint)?;
        memory::check_weights(&footprint, rows, memory)?;
        let tokenizer = Tokenizer::open(folder)?.with_bos(options.add_bos);
        let load_options = LoadOptions { allow_nonfinite: options.allow_nonfinite, ..LoadOptions::default() };
        let loaded = load(&checkpoint, kernels, load_options)?;
        let spec = loaded.decoder.spec();
        if tokenizer.size() > spec.vocab {
            return Err(Error::bad(format!(
                "expected token ids below the {} rows of the embedding, found ids up to {}",
                spec.vocab,
                tokenizer.size() - 1
            ))
            .in_file(tokenizer.path())
            .help("the tokenizer belongs to another model, or was extended without the embedding"));
        }
        let info = ModelInfo {
            fingerprint: loaded.fingerprint,
            numerics: loaded.decoder.kernels().numerics_id().to_owned(),
            family: spec.family.to_owned(),
            parameters: loaded.parameters,
            dtypes: loaded.dtypes,
            max_length: longest(spec.context, &tokenizer),
            ends: end_tokens(folder, &tokenizer)?,
        };
        let weights = footprint.weights;
        Ok(Self { decoder: loaded.decoder, tokenizer, info, rows, memory, weights, gradients: None })
    }

    /// Rows of one forward pass.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that may be held besides what is held now, forms of the weights that are still to be made, and what a pass
    /// takes.
    pub fn memory_left(&self) -> usize {
        memory::left(&self.decoder, self.rows, self.memory, self.weights)
    }

    /// What is left for the keys and values of a plan.
    pub(super) fn room(&self, plan: &Plan, soon: usize) -> Room {
        Room::of(&self.decoder, self.rows, plan, (self.memory, soon))
    }

    pub fn decoder(&self) -> &Decoder<K> {
        &self.decoder
    }

    /// Requests that are no part of the tree.
    fn alone(&self, request: &Request) -> Result<Response> {
        match &request.ask {
            Ask::Logits { positions, top_k } => Ok(Response::Logits(self.logits(request, positions, *top_k)?)),
            Ask::Capture { sites } => {
                self.decoder.check_sites(sites, &request.edits)?;
                let mut taps = Taps::new(self.decoder.kernels(), sites, &request.edits, 0);
                self.decoder.forward(&request.tokens, &mut self.decoder.empty_cache(), &mut taps)?;
                Ok(Response::Capture(taps.into_captured()?))
            }
            Ask::Grad { span, at } => match self.gradients {
                Some(gradients) => gradients(self, request, *span, at),
                None => Err(Error::bad("expected a model that was loaded for gradients, found one that was not")
                    .help("load it over `kernels::tape::Tape`, `with_gradients`")),
            },
            Ask::Score { .. } | Ask::Roll { .. } | Ask::Generate { .. } => {
                Err(Error::bad("expected at least one token of context, found none"))
            }
        }
    }

    fn forward(&self, request: &Request, tokens: &[u32]) -> Result<K::Array> {
        self.decoder.check_sites(&[], &request.edits)?;
        let mut taps = Taps::new(self.decoder.kernels(), &[], &request.edits, 0);
        self.decoder.forward(tokens, &mut self.decoder.empty_cache(), &mut taps)
    }

    fn logits(&self, request: &Request, positions: &[usize], top_k: usize) -> Result<Vec<TopLogits>> {
        let hidden = self.forward(request, &request.tokens)?;
        let one = |&position: &usize| {
            let row = self.decoder.row(&self.decoder.logits(&hidden, &[position])?, 0)?;
            let mut order: Vec<u32> = (0..row.len() as u32).collect();
            order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
            Ok(TopLogits { position, top: order.into_iter().take(top_k).map(|id| (id, row[id as usize])).collect() })
        };
        positions.iter().map(one).collect()
    }
}

impl<K: Kernels> LanguageModel for Local<K> {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn execute(&self, plan: &Plan, soon: usize, sink: &mut Sink<'_>) -> Result<()> {
        for &request in plan.alone() {
            let answer = (request, self.alone(&plan.requests()[request])?);
            sink(Answers { whole: vec![answer], begun: Vec::new() })?;
        }
        let rules = Rules { ends: &self.info.ends, max_length: self.info.max_length };
        let room = self.room(plan, soon);
        Passes::new(&self.decoder, &self.tokenizer, plan, rules, Limits { rows: self.rows, room })?.run(sink)
    }
}

/// The longest input of the model in a folder, without loading its weights.
pub fn max_length(folder: &Path, tokenizer: &Tokenizer) -> Result<usize> {
    let config = Config::read(folder)?;
    Ok(longest(Family::of(&config)?.describe(&config)?.spec.context, tokenizer))
}

/// The configuration's word, else the tokenizer's, else a default (rule C6).
fn longest(context: Option<usize>, tokenizer: &Tokenizer) -> usize {
    context.or(tokenizer.model_max_length()).unwrap_or(DEFAULT_MAX_LENGTH)
}

/// The end-of-sequence tokens of `generation_config.json` and `config.json` (one or several), and the tokenizer's.
fn end_tokens(folder: &Path, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let ids = |value: Option<&Value>| -> Vec<u32> {
        let list = match value {
            Some(Value::Array(list)) => list.clone(),
            Some(single) => vec![single.clone()],
            None => Vec::new(),
        };
        list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    };
    let mut ends = ids(Config::read(folder)?.values.get("eos_token_id"));
    let generation = folder.join("generation_config.json");
    if generation.exists() {
        let text = files::read_text(&generation, 1 << 20)?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|e| Error::bad(format!("expected a JSON object: {e}")).in_file(&generation))?;
        ends.extend(ids(value.get("eos_token_id")));
    }
    ends.extend(tokenizer.eos());
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}
