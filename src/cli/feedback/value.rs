//! `veval feedback value`: what each document of a stream is worth to the targets of a feedback set.

use std::collections::BTreeSet;
use std::path::Path;

use super::sealed::items_of;
use super::value_report::{Report, text};
use super::{all_checkpoints, one_checkpoint, sample_of};
use crate::ckpt::CheckpointRef;
use crate::cli::args::FeedbackValueArguments;
use crate::cli::run::stop_when_interrupted;
use crate::cli::{grad, print, printable, progress};
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::bundle::{Bundle, gram};
use crate::feedback::mix::{CopyRule, DocumentCopies, DocumentValue};
use crate::feedback::value::{
    Checkpoint, Document, DocumentAt, Measure, Place, Setup, Target as ValueTarget, ValueRow, ValueTable, Values,
    WordCounts, write_lines,
};
use crate::feedback::{Collect, Compared, Target, scaling};
use crate::lab::corpus::CorpusDocument;
use crate::lab::train::DocumentName;
use crate::lm::LanguageModel;
use crate::model::Predicted;
use crate::util::files;

/// Tokens of a pass of the reference, which has no gradients.
const REFERENCE_AT_ONCE: usize = 2048;

pub(super) fn value(arguments: &FeedbackValueArguments) -> Result<()> {
    if arguments.out.exists() {
        let error = Error::bad("expected a name that is free, found a folder").in_file(&arguments.out);
        return Err(error.help("remove it first, or name another"));
    }
    let bundle = Bundle::open(&arguments.bundle)?;
    let named = all_checkpoints(&arguments.checkpoints, arguments.quiet)?;
    if !arguments.moments.is_empty() && arguments.moments.len() != named.len() {
        let (wanted, found) = (named.len(), arguments.moments.len());
        return Err(Error::bad(format!("expected moments of each of {wanted} checkpoints, found {found}")));
    }
    let documents = grad::documents(&arguments.stream, &arguments.sources, None)?;
    let chosen = sample_of(&documents, arguments.sample);
    let documents: Vec<CorpusDocument> =
        documents.into_iter().enumerate().filter(|(number, _)| chosen.contains(number)).map(|(_, own)| own).collect();
    stop_when_interrupted()?;
    let mut all = Passes { at: vec![Vec::new(); documents.len()], ..Passes::default() };
    for (number, checkpoint) in named.iter().enumerate() {
        all.run(arguments, &bundle, checkpoint, number, &documents)?;
    }
    let reference = arguments.reference.as_deref().map(|path| reference_losses(arguments, path, &bundle, &all.targets));
    let reference = reference.transpose()?;
    let setup = setup(&bundle, &all, arguments);
    let mut table = ValueTable::new(setup)?;
    let mut at = std::mem::take(&mut all.at).into_iter();
    for (number, (document, target)) in documents.iter().zip(&all.targets).enumerate() {
        table.push(&Document {
            id: document.id.clone(),
            source: document.source.clone(),
            place: Place::default(),
            tokens: target.tokens.len() as u32,
            loss_tokens: (target.tokens.len() - target.start) as u32,
            loss: all.losses[number],
            loss_ref: reference.as_ref().map(|losses| losses[number]),
            at: at.next().unwrap_or_default(),
        })?;
    }
    let values = table.finish()?;
    let overlap = overlap(&bundle, &documents)?;
    let sources = values.by_source();
    let mut report = Report::of(&values, &overlap, &sources);
    report.show_sealed = all.shows_sealed.iter().filter(|shows| **shows).count();
    let mut copies = copies(&values, arguments)?;
    for number in (0..values.len()).filter(|number| all.shows_sealed[*number]) {
        (copies.expected[number], copies.whole[number]) = (0.0, 0);
    }
    let rows = || {
        let with_copies = |(number, row): (usize, ValueRow)| ValueRow {
            copies: Some(copies.expected[number] as f32),
            copies_int: Some(copies.whole[number]),
            exclude: Some(u8::from(all.shows_sealed[number])),
            ..row
        };
        values.rows().enumerate().map(with_copies)
    };
    files::whole_folder(&arguments.out, |partial| {
        write_lines(&partial.join("values.jsonl"), rows())?;
        #[cfg(feature = "parquet")]
        crate::feedback::value::write_parquet(&partial.join("values.parquet"), rows())?;
        files::write_atomic(&partial.join("repeats.bin"), &copies.repeats())?;
        let text = serde_json::to_string_pretty(&report.json(&values, &sources));
        let text = text.map_err(|e| Error::internal(format!("report: {e}")))?;
        files::write_atomic(&partial.join("report.json"), format!("{text}\n").as_bytes())
    })?;
    progress::peak_memory(arguments.quiet);
    print(&printable(&text(&arguments.out, &values, &sources, &report)))
}

/// How often each document should stand in its source.
fn copies(values: &Values, arguments: &FeedbackValueArguments) -> Result<DocumentCopies> {
    let document = |row: ValueRow| DocumentValue {
        name: DocumentName { source: row.source, id: row.doc_id },
        value: f64::from(row.value),
    };
    let rule = CopyRule { strength: arguments.copy_strength, seed: arguments.copy_seed, ..CopyRule::default() };
    DocumentCopies::new(&values.rows().map(document).collect::<Vec<_>>(), rule)
}

/// What the passes at all checkpoints bring.
#[derive(Default)]
struct Passes {
    targets: Vec<Target>,
    /// Whether a document has 13 words in a row of a sealed item.
    shows_sealed: Vec<bool>,
    /// At the last checkpoint.
    losses: Vec<f64>,
    /// By document and checkpoint.
    at: Vec<Vec<DocumentAt>>,
    /// By checkpoint and target.
    grams: Vec<Vec<Vec<f64>>>,
    steps: Vec<u64>,
}

impl Passes {
    fn run(
        &mut self,
        arguments: &FeedbackValueArguments,
        bundle: &Bundle,
        checkpoint: &CheckpointRef,
        number: usize,
        documents: &[CorpusDocument],
    ) -> Result<()> {
        let model = grad::open_model(checkpoint.address.clone(), &arguments.cost)?;
        let at = bundle.at(model.info(), model.tokenizer())?;
        let parts = bundle.parts(at, model.decoder().leaves())?;
        let names: BTreeSet<String> = bundle.manifest.parameter_names.iter().cloned().collect();
        let moments = arguments.moments.get(number).map(|path| grad::open_moments(path, &model)).transpose()?;
        let scaling = moments.map(|moments| scaling(&moments, &names)).transpose()?;
        let compared = Compared::new(model.decoder(), &parts, scaling.as_ref())?;
        if self.targets.is_empty() {
            let (suite, data_dir) = (arguments.suite.as_deref(), arguments.data_dir.as_deref());
            let encoder = (model.tokenizer(), model.info().max_length);
            let measured = items_of(bundle, suite, data_dir, encoder, (false, arguments.cost.threads.count()))?;
            self.shows_sealed = documents.iter().map(|document| measured.shows(document)).collect();
            self.targets = grad::document_targets(documents, model.tokenizer(), model.info().max_length)?;
        }
        let how = Collect { mean: true, batch_tokens: arguments.cost.batch_tokens, memory: model.memory_left() };
        let bar = progress::items_bar(self.targets.len(), 0, arguments.quiet);
        let (mut done, mut losses) = (0, Vec::with_capacity(self.targets.len()));
        let by_document = &mut self.at;
        let passed = compared.documents(&self.targets, how, &mut |batch| {
            for (loss, numbers) in batch {
                losses.push(loss);
                by_document[done].push(numbers);
                done += 1;
            }
            bar.set_position(done as u64);
            Ok(())
        });
        passed.map_err(|error| match error.kind() {
            ErrorKind::Incomplete => error.help("nothing was written; --sample asks for fewer documents"),
            _ => error,
        })?;
        bar.finish_and_clear();
        self.losses = losses;
        self.grams.push(parts.iter().map(|parts| gram(parts)).collect());
        self.steps.push(checkpoint.step.unwrap_or(number as u64));
        Ok(())
    }
}

fn setup(bundle: &Bundle, all: &Passes, arguments: &FeedbackValueArguments) -> Setup {
    let target = |(number, note): (usize, &crate::feedback::bundle::TargetNote)| ValueTarget {
        name: note.name.clone(),
        domain: note.domain.clone(),
        parts: note.parts.iter().map(|items| *items as f64).collect(),
        grams: all.grams.iter().map(|grams| grams[number].clone()).collect(),
    };
    Setup {
        targets: bundle.manifest.targets.iter().enumerate().map(target).collect(),
        checkpoints: all.steps.iter().map(|&step| Checkpoint { step, weight: 1.0 }).collect(),
        measure: if arguments.moments.is_empty() { Measure::Gradient } else { Measure::Step },
    }
}

/// Mean losses under another checkpoint with the same tokenizer.
fn reference_losses(
    arguments: &FeedbackValueArguments,
    path: &Path,
    bundle: &Bundle,
    targets: &[Target],
) -> Result<Vec<f64>> {
    let checkpoint = one_checkpoint(path, arguments.quiet)?;
    let model = grad::open_model(checkpoint.address, &arguments.cost)?;
    if model.tokenizer().fingerprint() != bundle.manifest.tokenizer {
        let message = "expected a reference with the tokenizer of the feedback set, found another";
        return Err(Error::bad(message).in_file(model.tokenizer().path()));
    }
    let items: Vec<Predicted<'_>> =
        targets.iter().map(|target| Predicted { tokens: &target.tokens, start: target.start }).collect();
    model.decoder().mean_losses(&items, REFERENCE_AT_ONCE)
}

/// What word overlap with the feedback items says of each document.
fn overlap(bundle: &Bundle, documents: &[CorpusDocument]) -> Result<Vec<f64>> {
    let mut counts = WordCounts::default();
    for document in documents {
        counts.add(&document.text);
    }
    let items: Vec<String> =
        bundle.items()?.into_iter().map(|item| format!("{}{}", item.context, item.answer)).collect();
    let overlap = counts.against(items.iter().map(String::as_str));
    Ok(documents.iter().map(|document| overlap.score(&document.text)).collect())
}
