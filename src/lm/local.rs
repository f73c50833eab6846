//! A checkpoint folder, run on this machine.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::generate::{Generation, generate};
use super::tree::{Answers, walk};
use super::{LanguageModel, ModelInfo, Sink};
use crate::ckpt::Config;
use crate::ctx;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::cpu::{Cpu, Isa};
use crate::model::families::Family;
use crate::model::{Cache, Decoder, Taps, load};
use crate::request::{Ask, Plan, Request, Response, ScoredToken, TopLogits, Window};
use crate::text::Tokenizer;
use crate::util::files;

/// lm-evaluation-harness's length for models that name none.
const DEFAULT_MAX_LENGTH: usize = 2048;

/// How a checkpoint is loaded and run.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Forward passes that run side by side. Each is computed on one thread, so the numbers do not depend on it.
    pub threads: usize,
    /// Score a checkpoint although it has NaN or infinite weights.
    pub allow_nonfinite: bool,
    /// Whether texts begin with the beginning-of-sequence token; `None` leaves it to the folder.
    pub add_bos: Option<bool>,
}

/// A decoder, its tokenizer, and how to run them.
pub struct Local<K: Kernels = Cpu> {
    decoder: Decoder<K>,
    tokenizer: Tokenizer,
    info: ModelInfo,
    /// Tokens that end a generation.
    ends: Vec<u32>,
    threads: usize,
}

impl Local<Cpu> {
    /// Loads a checkpoint folder for the CPU, with the best instruction set of this machine or the one that
    /// `VEVAL_ISA` names.
    pub fn open(folder: &Path, options: &LocalOptions) -> Result<Self> {
        let isa = match ctx::instruction_set() {
            None => Isa::best(),
            Some(name) => Isa::named(&name).ok_or_else(|| {
                let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
                Error::bad(format!("VEVAL_ISA: expected one of {}, found {name:?}", names.join(", ")))
            })?,
        };
        Self::with_kernels(folder, Cpu::new(isa), options)
    }
}

impl<K: Kernels> Local<K> {
    /// Loads a checkpoint folder.
    ///
    /// # Errors
    /// Everything that is wrong with configuration, tokenizer and weights.
    pub fn with_kernels(folder: &Path, kernels: K, options: &LocalOptions) -> Result<Self> {
        let tokenizer = Tokenizer::open(folder)?.with_bos(options.add_bos);
        let loaded = load(folder, kernels, options.allow_nonfinite, false)?;
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
            dtypes: loaded.dtypes.into_iter().map(str::to_owned).collect(),
            max_length: longest(spec.context, &tokenizer),
        };
        let ends = end_tokens(folder, &tokenizer)?;
        Ok(Self { decoder: loaded.decoder, tokenizer, info, ends, threads: options.threads.max(1) })
    }

    pub fn decoder(&self) -> &Decoder<K> {
        &self.decoder
    }

    /// Runs one node of a plan after what its parent left, and answers the requests that end there.
    fn visit(&self, plan: &Plan, index: usize, parent: Option<&Cache<K>>) -> Result<(Cache<K>, Answers)> {
        let node = plan.node(index);
        let requests = plan.requests();
        let first = &requests[node.request];
        let mut cache = parent.cloned().unwrap_or_else(|| self.decoder.empty_cache());
        if node.range.is_empty() {
            let answers = node.ending.iter().map(|&request| Ok((request, self.alone(&requests[request])?)));
            return Ok((cache, answers.collect::<Result<_>>()?));
        }
        self.decoder.check_sites(&[], &first.edits)?;
        let hidden = self.pass(first, node.range.clone(), &mut cache)?;
        let last = node.range.len() - 1;
        let openings: Vec<(usize, u32)> = node
            .ending
            .iter()
            .filter_map(|&index| Some((last, *requests[index].tokens.get(node.range.end)?)))
            .collect();
        let mut openings = self.decoder.score(&hidden, &openings)?.into_iter();
        let answer = |&index: &usize| {
            let request = &requests[index];
            let response = match &request.ask {
                Ask::Score { .. } => {
                    let opening = openings.next().ok_or_else(|| Error::internal("a score without continuation"))?;
                    self.continuation(request, node.range.end, opening, &cache)?
                }
                Ask::Generate { stop, max_tokens, sampling } => {
                    let limits = Generation {
                        stop,
                        max_tokens: *max_tokens,
                        sampling: *sampling,
                        ends: &self.ends,
                        max_length: self.info.max_length,
                    };
                    let logits = self.decoder.host_logits(&hidden, &[last])?.values;
                    generate(&self.decoder, &self.tokenizer, &request.edits, (cache.clone(), logits), &limits)?
                }
                _ => return Err(Error::internal("a request that should stand alone has a context")),
            };
            Ok((index, response))
        };
        let answers = node.ending.iter().map(answer).collect::<Result<_>>()?;
        Ok((cache, answers))
    }

    /// Tokens of a request, after the positions in the cache.
    fn pass(&self, request: &Request, range: Range<usize>, cache: &mut Cache<K>) -> Result<K::Array> {
        let mut taps = Taps::new(self.decoder.kernels(), &[], &request.edits, cache.length());
        self.decoder.forward(&request.tokens[range], cache, &mut taps)
    }

    /// Scores of `tokens[start..]`, the first of which the context's last row has scored already.
    fn continuation(
        &self,
        request: &Request,
        start: usize,
        opening: ScoredToken,
        context: &Cache<K>,
    ) -> Result<Response> {
        let mut scored = vec![opening];
        let end = request.tokens.len() - 1;
        if end > start {
            let hidden = self.pass(request, start..end, &mut context.clone())?;
            let wanted: Vec<(usize, u32)> = request.tokens[start + 1..].iter().copied().enumerate().collect();
            scored.extend(self.decoder.score(&hidden, &wanted)?);
        }
        Ok(Response::Score(scored))
    }

    /// Requests that share nothing.
    fn alone(&self, request: &Request) -> Result<Response> {
        match &request.ask {
            Ask::Roll { windows } => Ok(Response::Roll(self.roll(request, windows)?)),
            Ask::Logits { positions, top_k } => Ok(Response::Logits(self.logits(request, positions, *top_k)?)),
            Ask::Capture { sites } => {
                self.decoder.check_sites(sites, &request.edits)?;
                let mut taps = Taps::new(self.decoder.kernels(), sites, &request.edits, 0);
                self.decoder.forward(&request.tokens, &mut self.decoder.empty_cache(), &mut taps)?;
                Ok(Response::Capture(taps.into_captured()?))
            }
            Ask::Grad(_) => Err(Error::bad("gradients need a model that was loaded for them")
                .help("load it with tracked kernels and ask the decoder")),
            Ask::Score { .. } | Ask::Generate { .. } => {
                Err(Error::bad("expected at least one token of context, found none"))
            }
        }
    }

    fn forward(&self, request: &Request, tokens: &[u32]) -> Result<K::Array> {
        self.decoder.check_sites(&[], &request.edits)?;
        let mut taps = Taps::new(self.decoder.kernels(), &[], &request.edits, 0);
        self.decoder.forward(tokens, &mut self.decoder.empty_cache(), &mut taps)
    }

    fn roll(&self, request: &Request, windows: &[Window]) -> Result<Vec<ScoredToken>> {
        let mut scored = Vec::new();
        for window in windows {
            let hidden = self.forward(request, &request.tokens[window.begin..window.end])?;
            let length = window.end - window.begin;
            let wanted: Vec<(usize, u32)> =
                (length - window.scored..length).map(|row| (row, request.tokens[window.begin + row + 1])).collect();
            scored.extend(self.decoder.score(&hidden, &wanted)?);
        }
        Ok(scored)
    }

    fn logits(&self, request: &Request, positions: &[usize], top_k: usize) -> Result<Vec<TopLogits>> {
        let hidden = self.forward(request, &request.tokens)?;
        let one = |&position: &usize| {
            let row = self.decoder.host_logits(&hidden, &[position])?.values;
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

    fn execute(&self, plan: &Plan, sink: &mut Sink<'_>) -> Result<()> {
        walk(plan, self.threads, |node, parent| self.visit(plan, node, parent), sink)
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
