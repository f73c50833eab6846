//! `veval grad`: projected gradients of items.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indicatif::ProgressBar;

use super::args::{
    AlsoName, Cost, GradArguments, GradCollectArguments, GradItems, GradSetArguments, Grads, PrecisionName, SetName,
};
use super::data::here;
use super::run::{read, stop_when_interrupted};
use super::{grad_items, grad_store, grad_whiten, print, progress};
use crate::ckpt::Address;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::gradset::{GradSet, GradSetBuilder, Kind, Precision, Provenance, low_rank};
use crate::feedback::moments::{Moments, Optimizer, Order, Parameter, sort_by_module};
use crate::feedback::store::{Also, Element, GradRow, GradWriter, Header, Layout, Normalizer, Reduction, Sign};
use crate::feedback::{
    Beside, Collect, Projection, ProjectionTarget, Projector, RowOf, Rule, Target, collect as collect_rows,
};
use crate::kernels::Reverse;
use crate::kernels::cpu::Cpu;
use crate::kernels::tape::Tape;
use crate::lab::corpus::{CorpusDocument, read_corpus};
use crate::lm::{LanguageModel, Local, LocalOptions, cpu, memory_beside};
use crate::model::{Loss, Objective, Reach, Summed, WeightGradients};
use crate::request::GradSpan;
use crate::run::{Prepared, RightAnswer, Selection, prepare, right_answers};
use crate::text::Tokenizer;
use crate::util::{files, hash};

/// After this many bad documents the rest is not named.
const MAX_PROBLEMS: usize = 20;

pub(super) fn grad(arguments: &GradArguments) -> Result<()> {
    match &arguments.what {
        Grads::Collect(arguments) => collect(arguments),
        Grads::Set(arguments) => set(arguments),
        Grads::Query(arguments) => grad_store::query(arguments),
        Grads::Autocorrelation(arguments) => grad_whiten::autocorrelation(arguments),
        Grads::Whiten(arguments) => grad_whiten::whiten(arguments),
        Grads::Export(arguments) => grad_store::export(arguments),
    }
}

/// A checkpoint that is ready for gradients, and what they are taken of.
struct Opened {
    model: Local<Tape<Cpu>>,
    targets: Vec<Target>,
    /// Of the wanted parameters.
    names: BTreeSet<String>,
}

fn open(of: &GradItems) -> Result<Opened> {
    let threads = of.cost.threads.count();
    let name = of.suite.to_string_lossy();
    let is_corpus = [".jsonl", ".jsonl.gz"].iter().any(|end| name.ends_with(end));
    // What is wrong with items is said before a checkpoint is read.
    let items = if is_corpus {
        Items::Documents(documents(&of.suite, &of.tasks, of.limit)?)
    } else {
        Items::Suite(suite_items(of, threads)?)
    };
    let model = open_model(here(&of.checkpoint)?, &of.cost)?;
    let longest = model.info().max_length;
    let targets = match items {
        Items::Documents(documents) => document_targets(&documents, model.tokenizer(), longest)?,
        Items::Suite(prepared) => {
            let target = |answer: RightAnswer| Target {
                id: prepared.tasks[answer.task].items[answer.item].id.clone(),
                tokens: answer.tokens,
                start: answer.start,
            };
            right_answers(&prepared, model.tokenizer(), longest)?.into_iter().map(target).collect()
        }
    };
    let names = of.parameters.of(model.decoder().leaves())?;
    Ok(Opened { model, targets, names })
}

/// A checkpoint on kernels that record.
pub(super) fn open_model(checkpoint: Address, cost: &Cost) -> Result<Local<Tape<Cpu>>> {
    let options =
        LocalOptions { batch_tokens: cost.batch_tokens, max_memory: cost.max_memory, ..LocalOptions::default() };
    Local::open(checkpoint, Tape::new(cpu(cost.threads.count())?), &options)
}

/// What gradients are taken of.
enum Items {
    Suite(Prepared),
    Documents(Vec<CorpusDocument>),
}

fn suite_items(of: &GradItems, threads: usize) -> Result<Prepared> {
    let selection = Selection { tasks: of.tasks.clone(), limit: of.limit, data_dir: of.data_dir.clone() };
    prepare(&read(&of.suite)?, &selection, threads)
}

/// Documents of a corpus, of the wanted sources, as many of each as are wanted.
pub(super) fn documents(corpus: &Path, sources: &[String], limit: Option<usize>) -> Result<Vec<CorpusDocument>> {
    let mut documents = read_corpus(corpus)?;
    check_sources(&documents, sources).map_err(|error| error.in_file(corpus))?;
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    documents.retain(|document| {
        let count = kept.entry(document.source.clone()).or_default();
        *count += 1;
        (sources.is_empty() || sources.contains(&document.source)) && limit.is_none_or(|limit| *count <= limit)
    });
    Ok(documents)
}

/// Refuses sources that no document has.
pub(super) fn check_sources(documents: &[CorpusDocument], sources: &[String]) -> Result<()> {
    let known: BTreeSet<&str> = documents.iter().map(|document| document.source.as_str()).collect();
    let unknown = sources.iter().filter(|source| !known.contains(source.as_str()));
    let problem = |source: &String| {
        let known: Vec<&str> = known.iter().copied().collect();
        Diagnostic::new(format!("expected one of the sources {}, found {source}", known.join(", ")))
    };
    Error::check(unknown.map(problem).collect())
}

/// Every token of a document behind the token that begins texts; what is longer than the model's input is cut at its end.
///
/// # Errors
/// Documents of which nothing is predicted, by id.
pub(super) fn document_targets(
    documents: &[CorpusDocument],
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Vec<Target>> {
    let (mut targets, mut problems, mut cut) = (Vec::with_capacity(documents.len()), Vec::new(), 0usize);
    for document in documents {
        let id = format!("{}/{}", document.source, document.id);
        let mut tokens = tokenizer.encode(&document.text)?;
        if let Some(prefix) = tokenizer.prefix()
            && tokens.first() != Some(&prefix)
        {
            tokens.insert(0, prefix);
        }
        cut += usize::from(tokens.len() > longest);
        tokens.truncate(longest);
        if tokens.len() < 2 && problems.len() < MAX_PROBLEMS {
            problems.push(Diagnostic::new("expected a document with a token to predict, found none").at(id.clone()));
        }
        targets.push(Target { id, tokens, start: 1 });
    }
    Error::check(problems)?;
    if cut > 0 {
        eprintln!("{cut} documents are longer than the model's {longest} tokens: their ends are left out");
    }
    Ok(targets)
}

fn collect(arguments: &GradCollectArguments) -> Result<()> {
    let Opened { model, targets, names } = open(&arguments.of)?;
    let projection = projection(arguments)?;
    let beside = Beside {
        embeddings: arguments.also.contains(&AlsoName::Embeddings),
        vectors: arguments.also.contains(&AlsoName::Vectors),
    };
    let moments = arguments.moments.as_deref().map(|path| open_moments(path, &model)).transpose()?;
    let of = |name: &str| moments.as_ref().map(|moments| moments.read(name)).transpose();
    let row_of = if arguments.per_token { RowOf::Token } else { RowOf::Item };
    let wanted = |name: &str| names.contains(name);
    let projector = Projector::of(model.decoder(), wanted, beside, projection, &of)?.with_rows_of(row_of);
    let normalizer = normalizer(arguments.moments.as_deref(), moments.as_ref(), &names)?;
    let header = header(&projector, arguments.dtype.into(), normalizer, arguments.of.mean, &model);
    let memory = beside_rows(&projector, &targets, arguments.of.cost.batch_tokens, model.memory_left())?;
    grad_items::check(&arguments.out, &targets)?;
    let mut writer = GradWriter::open(&arguments.out, &header)?;
    // Again, now that nobody else writes.
    grad_items::check(&arguments.out, &targets)?;
    if writer.rows() > 0 && !grad_items::path(&arguments.out).exists() {
        let error = Error::bad(format!("expected items.jsonl beside {} rows, found none", writer.rows()));
        return Err(error.in_file(&arguments.out).help("use another folder for these gradients"));
    }
    grad_items::write(&arguments.out, &targets)?;
    let done = items_done(&writer, &targets, row_of).map_err(|error| error.in_file(&arguments.out))?;
    stop_when_interrupted()?;
    let bar = progress::items_bar(targets.len(), done, arguments.of.quiet);
    let how = Collect { mean: arguments.of.mean, batch_tokens: arguments.of.cost.batch_tokens, memory };
    gather(&projector, &targets, done, how, &mut writer, &bar)?;
    writer.finish()?;
    bar.finish_and_clear();
    progress::peak_memory(arguments.of.quiet);
    print(&format!("{}\n", arguments.out.display()))
}

/// How many items have all their rows.
fn items_done(writer: &GradWriter, targets: &[Target], row_of: RowOf) -> Result<usize> {
    let Some(last) = writer.last_item() else { return Ok(0) };
    let done = usize::try_from(last).ok().and_then(|last| last.checked_add(1)).filter(|done| *done <= targets.len());
    let rows = |done: &usize| match row_of {
        RowOf::Item => *done as u64,
        RowOf::Token => targets[..*done].iter().map(|target| target.tokens.len() as u64 - 1).sum(),
    };
    done.filter(|done| rows(done) == writer.rows()).ok_or_else(|| {
        Error::bad(format!("expected the rows of the first items, found {} rows up to item {last}", writer.rows()))
            .help("use another folder for these gradients")
    })
}

/// Bytes that may be kept of a pass beside what rows take.
fn beside_rows<K: Reverse>(
    projector: &Projector<'_, K>,
    targets: &[Target],
    batch_tokens: usize,
    left: usize,
) -> Result<usize> {
    let longest = targets.iter().map(|target| target.tokens.len()).max().unwrap_or(0);
    let needed = projector.bytes(longest.max(batch_tokens));
    memory_beside(left, needed, "the rows of a pass").map_err(|error| {
        error.help(
            "raise --max-memory, or lower --batch-tokens or --proj-dim, or take fewer parameters (--params last:2)",
        )
    })
}

fn projection(arguments: &GradCollectArguments) -> Result<Projection> {
    /// Of each side: a linear map has a million numbers then.
    const MOST: usize = 1024;
    let (scale, signs) = (arguments.scale.into(), arguments.signs.into());
    let target = arguments.project.into();
    let dim = arguments.proj_dim.unwrap_or(if target == ProjectionTarget::Global { 512 } else { 16 });
    if target == ProjectionTarget::PerModule && dim > MOST {
        return Err(Error::bad(format!("--proj-dim: expected at most {MOST} numbers of each side, found {dim}"))
            .help("more make sense with --project global, where they are those of a whole row"));
    }
    Ok(Projection { dim, scale, signs, target })
}

/// What a store of these rows says of itself.
pub(super) fn header(
    projector: &Projector<'_, Cpu>,
    element: Element,
    normalizer: Normalizer,
    mean: bool,
    model: &Local<Tape<Cpu>>,
) -> Header {
    Header {
        layout: Layout::projected(projector.modules(), projector.projection(), element),
        normalizer,
        loss_reduction: if mean { Reduction::Mean } else { Reduction::Sum },
        per_token: projector.row_of() == RowOf::Token,
        sign: Sign::GradientOfLoss,
        also: Also::of(projector.beside()),
        whitening: None,
        model: model.info().fingerprint.clone(),
        tokenizer: model.tokenizer().fingerprint().to_owned(),
        numerics: model.info().numerics.clone(),
    }
}

/// The moments of all of a model's parameters.
pub(super) fn open_moments(path: &Path, model: &Local<Tape<Cpu>>) -> Result<Moments> {
    let stored = model.decoder().leaves().parameters();
    let parameter = |(name, (shape, _)): (&&str, &(&[usize], Vec<usize>))| Parameter {
        name: (*name).to_owned(),
        shape: shape.to_vec(),
    };
    let mut parameters: Vec<Parameter> = stored.iter().map(parameter).collect();
    // Where the family's order is not known, shapes may still tell.
    let order = match sort_by_module(model.decoder().spec().family, &mut parameters) {
        Ok(()) => Order::Module,
        Err(_) => Order::Unknown,
    };
    Moments::open(path, &parameters, order)
}

/// How the store says what gradients were divided by.
fn normalizer(path: Option<&Path>, moments: Option<&Moments>, names: &BTreeSet<String>) -> Result<Normalizer> {
    let (Some(path), Some(moments), Some(name)) = (path, moments, names.first()) else { return Ok(Normalizer::None) };
    let source_sha256 = hash::sha256_hex_of_file(path)?;
    Ok(match moments.read(name)?.optimizer {
        Optimizer::Adam { .. } => Normalizer::Adam { source_sha256 },
        Optimizer::Adafactor => Normalizer::Adafactor { source_sha256 },
    })
}

fn reduction(of: &GradItems) -> Reduction {
    if of.mean { Reduction::Mean } else { Reduction::Sum }
}

/// Puts the item's id in the place of its number in a pass of its own.
fn of_item(error: Error, id: &str) -> Error {
    let kind = error.kind();
    let named = |mut problem: Diagnostic| {
        problem.place = None;
        problem.at(id.to_owned())
    };
    Error::collected(kind, error.into_diagnostics().into_iter().map(named).collect())
}

fn set(arguments: &GradSetArguments) -> Result<()> {
    files::check_free(&arguments.out)?;
    if arguments.moments.is_some() && arguments.kind != SetName::Precond {
        return Err(Error::bad("--moments: expected --kind precond beside it, found another kind"));
    }
    let Opened { model, targets, names } = open(&arguments.of)?;
    let decoder = model.decoder();
    // What is wrong with them is said before gradients are taken.
    let moments = arguments.moments.as_deref().map(|path| open_moments(path, &model)).transpose()?;
    let shapes = decoder.leaves().parameters().into_iter().filter(|(name, _)| names.contains(*name));
    let shapes: BTreeMap<String, Vec<usize>> =
        shapes.map(|(name, (shape, _))| (name.to_owned(), shape.to_vec())).collect();
    let memory = beside_sums(&shapes, arguments.kind, model.memory_left())?;
    let mut builder = GradSetBuilder::new(&shapes, arguments.kind == SetName::Fisher);
    stop_when_interrupted()?;
    let _keeping = decoder.kernels().inner().keeping(memory);
    let bar = progress::items_bar(targets.len(), 0, arguments.of.quiet);
    for (index, target) in targets.iter().enumerate() {
        if ctx::interrupted() {
            let message = format!("interrupted after {index} of {} items; nothing was written", targets.len());
            return Err(Error::new(ErrorKind::Incomplete, Diagnostic::new(message)));
        }
        let span = GradSpan { start: target.start, end: target.tokens.len() };
        let loss = Loss::Nll { span, mean: arguments.of.mean };
        let mut weights = WeightGradients::new(decoder, |name| names.contains(name), Summed::Pass);
        let reach = Reach { memory, ..Reach::default() };
        let item = [Objective { tokens: &target.tokens, loss }];
        decoder.reverse(&item, reach, &mut weights).map_err(|error| of_item(error, &target.id))?;
        builder.add(&target.id, &weights.into_parameters()?)?;
        bar.set_position(index as u64 + 1);
    }
    bar.finish_and_clear();
    let collected = builder.finish()?;
    let mut evidence = collected.evidence();
    let (kind, tensors) = match arguments.kind {
        SetName::Target => (Kind::Target, collected.mean()),
        SetName::Retain => (Kind::Retain, collected.mean()),
        SetName::Fisher => {
            let squares = collected.fisher().ok_or_else(|| Error::internal("squares that were not summed"))?;
            (Kind::Fisher, squares)
        }
        SetName::Lowrank => (Kind::LowRank, low_rank(&collected.mean(), arguments.rank)),
        SetName::Precond => {
            let moments = moments.as_ref().ok_or_else(|| Error::internal("a kind without its moments"))?;
            let (scaled, of_steps) = collected.preconditioned(moments, Rule::Optimizer)?;
            evidence = of_steps;
            (Kind::Preconditioned, scaled)
        }
    };
    let optimizer = arguments.moments.as_deref().map(|path| {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok::<_, Error>(format!("{name}, sha256 {}", hash::sha256_hex_of_file(path)?))
    });
    let name = arguments.out.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let provenance = Provenance {
        name,
        checkpoint: model.info().fingerprint.clone(),
        step: None,
        loss: "negative log-likelihood of the right answer, or of a document".to_owned(),
        reduction: reduction(&arguments.of),
        optimizer: optimizer.transpose()?,
    };
    let (items, cosine) = (evidence.items, evidence.split_half_cosine);
    let warning = evidence.warning();
    let precision = match arguments.dtype {
        PrecisionName::Bf16 => Precision::Bf16,
        PrecisionName::F32 => Precision::F32,
    };
    GradSet { kind, provenance, evidence, tensors }.write(&arguments.out, precision)?;
    let cosine = cosine.map_or_else(|| "unknown".to_owned(), |cosine| format!("{cosine:.3}"));
    let mut text = format!("{}: {items} items, cosine of two halves {cosine}\n", arguments.out.display());
    text += &warning.map_or_else(String::new, |warning| format!("warning: {warning}\n"));
    print(&text)
}

/// Bytes of activations that may be kept beside the sums of a set: an item's gradients and their copy, two halves, squares.
fn beside_sums(shapes: &BTreeMap<String, Vec<usize>>, kind: SetName, left: usize) -> Result<usize> {
    let each = if kind == SetName::Fisher { 20 } else { 16 };
    let sums = each * shapes.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>();
    memory_beside(left, sums, "the sums of the parameters' gradients")
        .map_err(|error| error.help("raise --max-memory, or take fewer parameters (--params last:2)"))
}

fn gather<K: Reverse>(
    projector: &Projector<'_, K>,
    targets: &[Target],
    done: usize,
    how: Collect,
    writer: &mut GradWriter,
    bar: &ProgressBar,
) -> Result<()> {
    let width = projector.width();
    let gathered = collect_rows(projector, targets, done, how, &mut |batch| {
        let per_token = projector.row_of() == RowOf::Token;
        for (index, (own, loss)) in batch.rows.iter().zip(batch.losses).enumerate() {
            let target = &targets[batch.first + index];
            let row = |row: usize| GradRow {
                id: (batch.first + index) as i64,
                loss: *loss as f32,
                n_tokens: (target.tokens.len() - target.start) as i32,
                position: per_token.then_some((row - own.start) as i32),
                values: &batch.values[row * width..][..width],
            };
            writer.append(&own.clone().map(row).collect::<Vec<_>>())?;
        }
        bar.set_position((batch.first + batch.rows.len()) as u64);
        Ok(())
    });
    // What was computed before an interrupt is kept.
    if gathered.is_err() {
        writer.flush()?;
    }
    gathered.map_err(|error| match error.kind() {
        ErrorKind::Incomplete => error.help("run the same command again to go on"),
        _ => error,
    })
}
