//! `veval feedback geometry`: whose gradients agree, whose are in conflict, and where.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::all_checkpoints;
use super::geometry_report::{At, GroupNote, Kind, Report};
use super::stream::{sampled, shuffled};
use crate::ckpt::CheckpointRef;
use crate::cli::args::{ArrayFile, FeedbackGeometryArguments, Format};
use crate::cli::run::stop_when_interrupted;
use crate::cli::{grad, print, printable, progress};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::bundle::{Bundle, CheckpointNote};
use crate::feedback::geometry::{GradientArray, Group, PairedAgreement, array_grams, grams_at, without_context};
use crate::feedback::{Parameters, Target};
use crate::lab::corpus::CorpusDocument;
use crate::lm::{LanguageModel, memory_limit, shown_bytes};
use crate::text::Tokenizer;
use crate::util::files;

pub(super) fn geometry(arguments: &FeedbackGeometryArguments) -> Result<()> {
    files::check_free(&arguments.out)?;
    let report = match (&arguments.bundle, &arguments.stream) {
        (Some(bundle), Some(stream)) => of_set(arguments, bundle, stream)?,
        _ => of_arrays(arguments)?,
    };
    let (json, csv) = (report.json()?, report.csv()?);
    files::whole_folder(&arguments.out, |partial| {
        files::write_atomic(&partial.join("geometry.json"), json.as_bytes())?;
        files::write_atomic(&partial.join("geometry.csv"), csv.as_bytes())
    })?;
    progress::peak_memory(arguments.quiet);
    match arguments.format {
        Format::Json => print(&json),
        Format::Csv => print(&csv),
        Format::Table => print(&printable(&report.text(&arguments.out))),
    }
}

fn of_set(arguments: &FeedbackGeometryArguments, bundle: &Path, stream: &Path) -> Result<Report> {
    let bundle = Bundle::open(bundle)?;
    let named = all_checkpoints(&arguments.checkpoints, arguments.quiet)?;
    let documents = sampled(grad::documents(stream, &arguments.sources, None)?, arguments.sample);
    stop_when_interrupted()?;
    let mut groups: Vec<Group> = Vec::new();
    let mut at = Vec::new();
    for checkpoint in &named {
        at.push(at_checkpoint(arguments, &bundle, checkpoint, &documents, &mut groups)?);
    }
    let targets = bundle.manifest.targets.len();
    let note = |(number, group): (usize, &Group)| GroupNote {
        name: group.name.clone(),
        kind: if number < targets { Kind::Target } else { Kind::Source },
        items: group.items.len(),
    };
    Ok(Report {
        parts: arguments.parts,
        parameters: Some(
            arguments.parameters.as_ref().map_or_else(|| bundle.manifest.parameters.clone(), ToString::to_string),
        ),
        groups: groups.iter().enumerate().map(note).collect(),
        at,
    })
}

/// `groups` are made at the first checkpoint: the others have its tokenizer.
fn at_checkpoint(
    arguments: &FeedbackGeometryArguments,
    bundle: &Bundle,
    checkpoint: &CheckpointRef,
    documents: &[CorpusDocument],
    groups: &mut Vec<Group>,
) -> Result<At> {
    let model = grad::open_model(checkpoint.address.clone(), &arguments.cost)?;
    bundle.check_tokenizer(model.tokenizer())?;
    let names: BTreeSet<String> = match &arguments.parameters {
        Some(parameters) => parameters.of(model.decoder().leaves())?,
        None => Parameters::Names(bundle.manifest.parameter_names.clone()).of(model.decoder().leaves())?,
    };
    if groups.is_empty() {
        *groups = targets(bundle, model.tokenizer())?;
        groups.extend(sources(documents, model.tokenizer(), model.info().max_length)?);
    }
    let items: usize = groups.iter().map(|group| group.items.len()).sum();
    let bar = progress::items_bar(items, 0, arguments.quiet);
    let found = grams_at(model.decoder(), &names, groups, arguments.parts, model.memory_left(), &mut |sweeps| {
        bar.set_length((items * sweeps) as u64);
        bar.inc(1);
        if ctx::interrupted() {
            let error = Error::new(ErrorKind::Incomplete, Diagnostic::new("interrupted; nothing was written"));
            return Err(error.help("--sample asks for fewer documents"));
        }
        Ok(())
    })
    .map_err(|error| error.at(format!("checkpoint {}", checkpoint.name)))?;
    bar.finish_and_clear();
    if found.sweeps > 1 && !arguments.quiet {
        eprintln!("the items went through the model {} times, as memory allows", found.sweeps);
    }
    let targets = bundle.manifest.targets.len();
    let pairs: Vec<(usize, usize)> =
        (targets..groups.len()).flat_map(|source| (0..targets).map(move |target| (source, target))).collect();
    let note = CheckpointNote {
        name: checkpoint.name.clone(),
        fingerprint: model.info().fingerprint.clone(),
        numerics: model.info().numerics.clone(),
        step: checkpoint.step,
        tokens_seen: checkpoint.tokens,
    };
    Ok(At::of(Some(note), &found.grams, (&pairs, &pairs), &found.agreement))
}

/// The items of the set, and their answers alone where texts can begin with nothing.
fn targets(bundle: &Bundle, tokenizer: &Tokenizer) -> Result<Vec<Group>> {
    let items = bundle.items()?;
    let group = |target: &str| {
        let own = items.iter().filter(|item| item.task == target);
        let items: Vec<Target> =
            own.map(|item| Target { id: item.id.clone(), tokens: item.tokens.clone(), start: item.start }).collect();
        let alone = |prefix| items.iter().map(|item| without_context(item, prefix)).collect();
        Group { name: format!("target/{target}"), marginals: tokenizer.prefix().map_or_else(Vec::new, alone), items }
    };
    Ok(bundle.manifest.targets.iter().map(|target| group(&target.name)).collect())
}

/// A group for each source, in the order of names.
fn sources(documents: &[CorpusDocument], tokenizer: &Tokenizer, longest: usize) -> Result<Vec<Group>> {
    let documents: Vec<CorpusDocument> =
        shuffled(documents).into_iter().map(|number| documents[number].clone()).collect();
    let mut items = grad::document_targets(&documents, tokenizer, longest)?.into_iter();
    let group = |own: &[CorpusDocument]| Group {
        name: format!("source/{}", own[0].source),
        items: items.by_ref().take(own.len()).collect(),
        marginals: Vec::new(),
    };
    Ok(documents.chunk_by(|a, b| a.source == b.source).map(group).collect())
}

fn of_arrays(arguments: &FeedbackGeometryArguments) -> Result<Report> {
    let limit = memory_limit(arguments.cost.max_memory);
    let arrays = opened(&arguments.arrays, limit)?;
    let Some((first, array)) = arrays.first() else {
        return Err(Error::bad("expected a set and a stream, or arrays, found none"));
    };
    let layers = layers(&arguments.layers, first, array.width())?;
    let pairs = paired(&arguments.paired, &arrays)?;
    let sizes = [arrays.len(), arguments.parts, array.width(), size_of::<f64>()];
    let wanted = sizes.into_iter().fold(1usize, usize::saturating_mul);
    let left = limit.saturating_sub(ctx::memory_used().unwrap_or(0));
    if wanted > left {
        let (wanted, left) = (shown_bytes(wanted), shown_bytes(left));
        let message = format!("expected {wanted} of memory for the mean gradients of all parts, found {left}");
        return Err(Error::bad(message).help("raise --max-memory, or take fewer arrays or parts (--parts)"));
    }
    let grams = array_grams(&arrays, arguments.parts, layers)?;
    let mut agreement = PairedAgreement::default();
    for (name, one, other) in pairs {
        one.for_each_pair(other, |_, one, other| agreement.add(&name, one, other).map(drop))
            .map_err(|error| error.at(format!("--paired {name}")))?;
    }
    let count = arrays.len();
    let each_way =
        (0..count).flat_map(|one| (0..count).filter(move |&other| other != one).map(move |other| (one, other)));
    let each_way: Vec<(usize, usize)> = each_way.collect();
    let once: Vec<(usize, usize)> = each_way.iter().copied().filter(|(one, other)| one < other).collect();
    let note = |(name, array): &(String, GradientArray)| GroupNote {
        name: name.clone(),
        kind: Kind::Array,
        items: array.rows(),
    };
    Ok(Report {
        parts: arguments.parts,
        parameters: None,
        groups: arrays.iter().map(note).collect(),
        at: vec![At::of(None, &grams, (&once, &each_way), &agreement)],
    })
}

/// All of them, or what is wrong with any. What is read whole is counted.
fn opened(files: &[ArrayFile], limit: usize) -> Result<Vec<(String, GradientArray)>> {
    let (mut arrays, mut problems) = (Vec::with_capacity(files.len()), Vec::new());
    for (number, file) in files.iter().enumerate() {
        if files[..number].iter().any(|other| other.name == file.name) {
            let message = format!("expected arrays with names of their own, found {} twice", file.name);
            problems.push(Diagnostic::new(message).at("--arrays"));
        }
        let left = limit.saturating_sub(ctx::memory_used().unwrap_or(0));
        match GradientArray::open(&file.path, file.tensor.as_deref(), left) {
            Ok(array) => arrays.push((file.name.clone(), array)),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    Error::check(problems)?;
    Ok(arrays)
}

fn layers(named: &[(String, usize)], first: &str, width: usize) -> Result<Vec<(String, Range<usize>)>> {
    if named.is_empty() {
        return Ok(vec![("all".to_owned(), 0..width)]);
    }
    let total = named.iter().try_fold(0usize, |sum, (_, columns)| sum.checked_add(*columns));
    if total != Some(width) {
        let found = total.map_or_else(|| "more".to_owned(), |total| total.to_string());
        let message = format!("expected layers of {width} columns together, as {first} has, found {found}");
        return Err(Error::bad(message).at("--layer"));
    }
    let mut from = 0;
    let layer = |(name, columns): &(String, usize)| {
        from += columns;
        (name.clone(), from - columns..from)
    };
    Ok(named.iter().map(layer).collect())
}

type Paired<'a> = (String, &'a GradientArray, &'a GradientArray);

fn paired<'a>(named: &[(String, String)], arrays: &'a [(String, GradientArray)]) -> Result<Vec<Paired<'a>>> {
    let find = |name: &String| {
        let found = arrays.iter().find(|(own, _)| own == name).map(|(_, array)| array);
        found.ok_or_else(|| {
            let known: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
            Error::bad(format!("expected one of the arrays {}, found {name}", known.join(", "))).at("--paired")
        })
    };
    let pair = |(number, (one, other)): (usize, &(String, String))| {
        let same = |(a, b): &(String, String)| (a, b) == (one, other) || (a, b) == (other, one);
        if one == other || named[..number].iter().any(same) {
            let message = format!("expected pairs of two different arrays, each once, found {one}={other}");
            return Err(Error::bad(message).at("--paired"));
        }
        Ok((format!("{one}={other}"), find(one)?, find(other)?))
    };
    named.iter().enumerate().map(pair).collect()
}
