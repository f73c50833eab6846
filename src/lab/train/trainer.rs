//! The run: batch, gradient, update, record; checkpoints on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::adamw::{AdamW, Moments, Updated, decays};
use super::checkpoint::{Companions, Shapes, State};
use super::clip::{Clip, NamedGradient};
use super::copies::{Copies, DocumentName};
use super::curve::{CurveFile, CurvePoint};
use super::gradient::{Lesson, batch_gradient};
use super::lessons::{Fingerprints, SoftTargets};
use super::mixture::Mixture;
use super::order::{Batch, Order, Plan as OrderPlan, TrainingDocument};
use super::order_file::OrderFile;
use super::plan::{Plan, TokenizerSource};
use super::progress::Progress;
use super::tokenizer;
use crate::ckpt::Config;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::cpu::Cpu;
use crate::kernels::{Kernels, Reverse};
use crate::lab::corpus::{CorpusDocument, fingerprint, read_corpus};
use crate::model::Blueprint;
use crate::text::Tokenizer;
use crate::util::{files, hash};

const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// Seconds of training that a crash may cost.
const KEPT_EVERY: f64 = 60.0;
/// Bytes of a value in training: itself, its gradient twice over, two moments, packed weights and their transposes.
const BYTES_OF_A_PARAMETER: usize = 32;

/// Everything a run reads, ready to be trained on.
pub struct Trainer {
    plan: Plan,
    blueprint: Blueprint,
    shapes: Shapes,
    companions: Companions,
    sources: Vec<String>,
    names: Vec<DocumentName>,
    documents: Vec<TrainingDocument>,
    targets: SoftTargets,
    mixture: Mixture,
    /// Where training begins.
    start: State,
    /// Of the plan and all files that it reads: the same identity, the same bytes.
    identity: String,
}

/// What one update did.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub step: u64,
    pub tokens: u64,
    /// Mean over the step's predictions, in nats, before the update; with soft targets it is the cross entropy against them.
    pub loss: f64,
}

impl Trainer {
    /// Reads corpus, mixture, copies, soft targets and tokenizer, or learns the tokenizer.
    ///
    /// # Errors
    /// Whatever is wrong with those files, or with what they say of each other.
    pub fn open(plan: Plan) -> Result<Self> {
        let training = &plan.training;
        let corpus_path = plan.path(&training.corpus);
        let corpus = read_corpus(&corpus_path)?;
        let tokenizer = open_tokenizer(&plan, &corpus)?;
        let end = tokenizer::end_token(&tokenizer)?;
        let entries = tokenizer.get_vocab_size(true);
        let config = training.model.config(entries, end, "float32");
        let path = PathBuf::from("the model of the plan");
        let blueprint = Blueprint::of(&Config { path, values: config.clone() })?;
        let shapes = blueprint.parameters();
        check_memory(&shapes)?;
        let companions = Companions {
            config,
            tokenizer: tokenizer.to_string(true).map_err(|e| Error::internal(format!("the tokenizer: {e}")))?,
            tokenizer_settings: tokenizer::settings(training.model.context),
        };

        let mut sources: Vec<String> = corpus.iter().map(|document| document.source.clone()).collect();
        sources.sort_unstable();
        sources.dedup();
        let names: Vec<DocumentName> = corpus
            .iter()
            .map(|document| DocumentName { source: document.source.clone(), id: document.id.clone() })
            .collect();
        let copies = match &training.values {
            Some(values) => Copies::read(&plan.path(values), training.seed)?,
            None => Copies::One,
        };
        let number = |source: &String| sources.binary_search(source).unwrap_or_default();
        let document = |(document, copies): (&CorpusDocument, u32)| -> Result<TrainingDocument> {
            let tokens = tokenizer::encode(&tokenizer, &document.text, end)?;
            Ok(TrainingDocument { source: number(&document.source), tokens, copies })
        };
        let documents: Vec<TrainingDocument> =
            corpus.iter().zip(copies.of(&names)?).map(document).collect::<Result<_>>()?;
        let targets = match &training.targets {
            Some(targets) => {
                let of =
                    Fingerprints { tokenizer: tokenizers_name(&plan, &companions)?, documents: fingerprint(&corpus) };
                SoftTargets::read(&plan.path(targets), &of, &documents, entries)?
            }
            None => SoftTargets::default(),
        };
        let mixture = match &training.mixture {
            Some(mixture) => Mixture::read(&plan.path(mixture))?,
            None => natural(&sources, &documents)?,
        };
        let start = match &training.from {
            Some(from) => State::read(&plan.path(from), &shapes)?,
            None => first_state(&plan, &shapes),
        };
        if start.progress.step >= training.steps {
            let message = format!("expected more than {} steps, found {}", start.progress.step, training.steps);
            return Err(Error::bad(message).at("steps").help("`from` was trained for as many"));
        }
        let identity = identity(&plan, &companions)?;
        let trainer =
            Self { plan, blueprint, shapes, companions, sources, names, documents, targets, mixture, start, identity };
        // What is wrong with mixture and sizes is said now, and not when a folder was made.
        trainer.order()?;
        Ok(trainer)
    }

    fn order(&self) -> Result<Order<'_>> {
        let sources: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        let plan = OrderPlan {
            seed: self.plan.training.seed,
            sequence_length: self.plan.training.batch.length,
            sequences: self.plan.training.batch.sequences,
            steps: self.plan.training.steps,
        };
        Order::after(&self.start.progress, &self.documents, &sources, &self.mixture, plan)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Values of the model.
    pub fn parameters(&self) -> usize {
        self.shapes.values().map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// Tokens of each source, copies counted.
    pub fn tokens_by_source(&self) -> BTreeMap<&str, u64> {
        let mut tokens = BTreeMap::new();
        for document in &self.documents {
            let own = document.tokens.len() as u64 * u64::from(document.copies);
            *tokens.entry(self.sources[document.source].as_str()).or_default() += own;
        }
        tokens
    }

    /// Trains into a folder, or goes on with what is there. `each` is called after every update and says whether to go
    /// on; when it says no, the state is kept and the same call goes on later, to the same bytes.
    ///
    /// # Errors
    /// A folder of another run; a loss that is not finite, by step.
    pub fn run(&self, out: &Path, kernels: &Cpu, each: &mut dyn FnMut(&Step) -> bool) -> Result<bool> {
        let sources: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        let mut order = self.order()?;
        files::create_folder(out)?;
        let (curve_path, order_path, states) = (out.join("curve.csv"), out.join("order"), out.join("state"));
        let _lock = lock(out)?;
        let kept = if self.claim(out, kernels)? { State::last_kept(&states, &self.shapes)? } else { None };
        let (mut state, mut curve, mut order_file) = if let Some(state) = kept {
            let step = state.progress.step;
            (state, CurveFile::resume(&curve_path, &sources, step)?, OrderFile::resume(&order_path, step)?)
        } else {
            let curve = CurveFile::create(&curve_path, &sources)?;
            (self.start.clone(), curve, OrderFile::create(&order_path, &self.names, self.start.progress.step)?)
        };
        let clip = self.plan.training.clip.map(Clip::new).transpose()?;
        let optimizer = &self.plan.training.optimizer;
        self.write_if_due(out, &state)?;
        let _keeping = kernels.keeping(usize::MAX);
        let mut kept_at = ctx::seconds();
        while state.progress.step < self.plan.training.steps {
            let step = state.progress.step + 1;
            let batch = order.step(step);
            let (losses, norm) = self.update(&mut state, &batch, kernels, clip)?;
            let point = self.point(&state, &batch, &losses, norm);
            curve.append(&point)?;
            order_file.append(&batch)?;
            let go_on = each(&Step { step, tokens: state.progress.tokens, loss: point.loss });
            let due = self.write_if_due(out, &state)?;
            // The clock decides how much a crash costs, and no byte of what is trained.
            if due || !go_on || ctx::seconds() - kept_at > KEPT_EVERY {
                kept_at = ctx::seconds();
                curve.sync()?;
                order_file.sync()?;
                state.keep(&states, &self.shapes, optimizer)?;
            }
            if !go_on {
                return Ok(step == self.plan.training.steps);
            }
        }
        Ok(true)
    }

    /// Whether the folder has this run already; otherwise it is from now on this run's.
    fn claim(&self, out: &Path, kernels: &Cpu) -> Result<bool> {
        let identity = hash::fingerprint(format!("{}\0{}", self.identity, kernels.numerics_id()).as_bytes());
        let path = out.join("identity");
        if path.exists() {
            let found = files::read_text(&path, 1 << 10)?;
            if found.trim() != identity {
                return Err(Error::bad("expected a folder of this run, found one of another plan or of other files")
                    .in_file(out)
                    .help("name another folder with --out, or remove this one"));
            }
            return Ok(true);
        }
        if let Some(other) = results(out)?.first() {
            return Err(Error::bad(format!("expected an empty folder or one of this run, found {other}"))
                .in_file(out)
                .help("name another folder with --out"));
        }
        files::write_atomic(&path, format!("{identity}\n").as_bytes())?;
        Ok(false)
    }

    /// One update: losses of the batch's sequences, and the norm of its gradient.
    fn update(&self, state: &mut State, batch: &Batch, kernels: &Cpu, clip: Option<Clip>) -> Result<(Vec<f64>, f64)> {
        let training = &self.plan.training;
        let lessons: Vec<Lesson<'_>> = batch.sequences.iter().map(|sequence| self.targets.lesson(sequence)).collect();
        let found = batch_gradient(&self.blueprint, kernels, &state.weights, &lessons, training.batch.at_once)
            .map_err(|error| of_step(error, batch.step))?;
        let mut gradient = found.gradient;
        let mut named: Vec<NamedGradient<'_>> =
            gradient.iter_mut().map(|(name, values)| (name.as_str(), values.as_mut_slice())).collect();
        // Without a limit the norm is still what people want to see.
        let clip = clip.map_or_else(|| Clip::new(f64::MAX), Ok)?;
        let norm = clip.apply(&mut named).map_err(|error| of_step(error, batch.step))?;
        let rate = self.plan.schedule.rate(batch.step);
        let mut updated = Vec::with_capacity(self.shapes.len());
        for (((name, values), moments), gradient) in
            state.weights.iter_mut().zip(state.moments.values_mut()).zip(gradient.values())
        {
            updated.push(Updated { name, values, gradient, moments, decays: decays(&self.shapes[name]) });
        }
        training.optimizer.update(batch.step, rate, &mut updated, kernels.threads())?;
        state.progress = Progress {
            step: batch.step,
            tokens: state.progress.tokens + self.plan.tokens_of_a_step(),
            learning_rate: rate,
            order: Some(batch.order.clone()),
        };
        Ok((found.losses, norm))
    }

    fn point(&self, state: &State, batch: &Batch, losses: &[f64], grad_norm: f64) -> CurvePoint {
        let mut sums = vec![(0.0, 0u32); self.sources.len()];
        for (sequence, loss) in batch.sequences.iter().zip(losses) {
            let (sum, count) = &mut sums[sequence.source];
            *sum += loss;
            *count += 1;
        }
        let length = self.plan.training.batch.length as f64;
        let mean = |(sum, count): &(f64, u32)| (*count > 0).then(|| sum / (f64::from(*count) * length));
        CurvePoint {
            step: state.progress.step,
            tokens: state.progress.tokens,
            loss: losses.iter().sum::<f64>() / (losses.len() as f64 * length),
            rate: state.progress.learning_rate,
            grad_norm,
            by_source: sums.iter().map(mean).collect(),
        }
    }

    /// Writes a checkpoint if this step leaves one that is not there yet.
    fn write_if_due(&self, out: &Path, state: &State) -> Result<bool> {
        let step = state.progress.step;
        if self.plan.checkpoint_steps.binary_search(&step).is_err() {
            return Ok(false);
        }
        let checkpoints = &self.plan.training.checkpoints;
        let optimizer: Option<&AdamW> = checkpoints.moments.then_some(&self.plan.training.optimizer);
        let folder = out.join(format!("step{step}"));
        if !folder.exists() {
            state.write_checkpoint(&folder, &self.shapes, &self.companions, (checkpoints.precision, optimizer))?;
        }
        Ok(true)
    }
}

/// Says at which step training failed, whatever else is known of the place.
fn of_step(error: Error, step: u64) -> Error {
    let kind = error.kind();
    let named = |mut problem: Diagnostic| {
        problem.message = format!("at step {step}: {}", problem.message);
        problem.help("the state before it is kept if it is of a checkpoint, or a minute old; lower the learning rate")
    };
    Error::collected(kind, error.into_diagnostics().into_iter().map(named).collect())
}

/// Holds the folder until it is dropped: two processes would write into each other's files.
fn lock(out: &Path) -> Result<std::fs::File> {
    let path = out.join(".lock");
    let file = std::fs::File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::bad("expected a folder that nobody else trains into, found one in use").in_file(out))
        }
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io("lock", &path, &e)),
    }
}

/// What runs leave in a folder, by name.
fn results(out: &Path) -> Result<Vec<String>> {
    let failed = |e: std::io::Error| Error::io("list", out, &e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(out).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("step") || ["curve.csv", "order", "state"].contains(&name.as_str()) {
            found.push(name);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The tokenizer of the checkpoint that training goes on from, of the file that the plan names, or a new one.
fn open_tokenizer(plan: &Plan, corpus: &[CorpusDocument]) -> Result<tokenizers::Tokenizer> {
    let path = match (&plan.training.from, &plan.training.tokenizer) {
        (Some(from), _) => plan.path(from).join("tokenizer.json"),
        (None, TokenizerSource::File { file }) => plan.path(file),
        (None, TokenizerSource::Learned { entries }) => {
            let texts: Vec<&str> = corpus.iter().map(|document| document.text.as_str()).collect();
            return tokenizer::train(&texts, *entries);
        }
    };
    let bytes = files::read_bounded(&path, MAX_TOKENIZER_BYTES)?;
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)
        .map_err(|e| Error::bad(format!("expected a tokenizer.json: {e}")).in_file(&path))?;
    // As scoring reads it: both would silently change documents.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| Error::internal(format!("no truncation: {e}")))?;
    Ok(tokenizer)
}

/// The fingerprint of the tokenizer that the run's checkpoints have, or the one that it goes on from.
fn tokenizers_name(plan: &Plan, companions: &Companions) -> Result<String> {
    if let Some(from) = &plan.training.from {
        return Ok(Tokenizer::open(&plan.path(from))?.fingerprint().to_owned());
    }
    let settings = companions.tokenizer_settings.as_object().cloned().unwrap_or_default();
    Ok(Tokenizer::fingerprint_of(companions.tokenizer.as_bytes(), &settings))
}

/// Refuses a model that this machine cannot train, before anything of its size is made.
fn check_memory(shapes: &Shapes) -> Result<()> {
    let product =
        |shape: &Vec<usize>| shape.iter().try_fold(BYTES_OF_A_PARAMETER, |bytes, side| bytes.checked_mul(*side));
    let needed = shapes.values().try_fold(0usize, |sum, shape| sum.checked_add(product(shape)?));
    match (needed, ctx::memory_available()) {
        (Some(needed), Some(free)) if needed <= free => Ok(()),
        (Some(_), None) => Ok(()),
        (needed, free) => {
            let gigabytes = |bytes: Option<usize>| bytes.map_or(f64::INFINITY, |bytes| bytes as f64 / 1e9);
            let (needed, free) = (gigabytes(needed), gigabytes(free));
            Err(Error::bad(format!(
                "expected a model for {free:.1} GB of free memory, found one that takes {needed:.1} GB"
            ))
            .at("model"))
        }
    }
}

fn first_state(plan: &Plan, shapes: &Shapes) -> State {
    let zero = |(name, shape): (&String, &Vec<usize>)| (name.clone(), Moments::zero(shape.iter().product()));
    State {
        progress: Progress::default(),
        weights: plan.training.model.first_weights(shapes, plan.training.seed),
        moments: shapes.iter().map(zero).collect(),
    }
}

/// Every source has the share of its tokens, copies counted.
fn natural(sources: &[String], documents: &[TrainingDocument]) -> Result<Mixture> {
    let mut tokens = vec![0u64; sources.len()];
    for document in documents {
        tokens[document.source] += document.tokens.len() as u64 * u64::from(document.copies);
    }
    let named: Vec<(&str, u64)> = sources.iter().map(String::as_str).zip(tokens).collect();
    Mixture::natural(&named)
}

/// Hash of the plan and of the files that it reads.
fn identity(plan: &Plan, companions: &Companions) -> Result<String> {
    let settings = serde_json::to_string(&plan.training).map_err(|e| Error::internal(e.to_string()))?;
    let mut parts = vec![settings, companions.tokenizer.clone()];
    let training = &plan.training;
    let from = training
        .from
        .as_ref()
        .map(|from| ["model.safetensors", "moments.safetensors", "trainer_state.json"].map(|f| from.join(f)));
    let named = [&training.mixture, &training.values, &training.targets].map(Option::as_ref);
    let read = std::iter::once(Some(&training.corpus)).chain(named);
    for file in read.flatten().chain(from.iter().flatten()) {
        let path = plan.path(file);
        parts.push(if path.exists() { hash::fingerprint_file(&path)? } else { "none".to_owned() });
    }
    Ok(hash::fingerprint(parts.join("\0").as_bytes()))
}
