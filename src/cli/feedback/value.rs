//! `veval feedback value`: what each document of a stream is worth to the targets of a feedback set.

use std::ops::Range;
use std::path::Path;

use super::passes::{Passes, PlantedItem};
use super::stream::sampled;
use super::value_report::text;
use super::{all_checkpoints, one_checkpoint};
use crate::ckpt::CheckpointRef;
use crate::cli::args::FeedbackValueArguments;
use crate::cli::run::stop_when_interrupted;
use crate::cli::{grad, print, printable, progress};
use crate::error::{Error, Result};
use crate::feedback::Target;
use crate::feedback::bundle::{Bundle, TargetNote};
use crate::feedback::mix::{CopyRule, DocumentCopies, DocumentValue};
use crate::feedback::value::{
    Document, Measure, Place, Planted, Setup, ValueReport, ValueRow, ValueTable, Values, WordCounts, Words, write_lines,
};
use crate::lab::corpus::CorpusDocument;
use crate::lab::train::DocumentName;
use crate::lm::LanguageModel;
use crate::model::Predicted;
use crate::util::files;

/// Tokens of a pass of the reference, which has no gradients.
const REFERENCE_AT_ONCE: usize = 2048;
/// The source of planted items, which are in no file.
const PLANTED: &str = "planted";

pub(super) fn value(arguments: &FeedbackValueArguments) -> Result<()> {
    let named = all_checkpoints(&arguments.checkpoints, arguments.quiet)?;
    let report = make(arguments, &named)?;
    progress::peak_memory(arguments.quiet);
    print(&printable(&text(&arguments.out, &report)))
}

/// Values of all documents, written to the folder `out`.
pub(in crate::cli) fn make(arguments: &FeedbackValueArguments, named: &[CheckpointRef]) -> Result<ValueReport> {
    files::check_free(&arguments.out)?;
    let bundle = Bundle::open(&arguments.bundle)?;
    if !arguments.moments.is_empty() && arguments.moments.len() != named.len() {
        let (wanted, found) = (named.len(), arguments.moments.len());
        return Err(Error::bad(format!("expected moments of each of {wanted} checkpoints, found {found}")));
    }
    let documents = sampled(grad::documents(&arguments.stream, &arguments.sources, None)?, arguments.sample);
    stop_when_interrupted()?;
    let mut all = Passes::default();
    for (number, checkpoint) in named.iter().enumerate() {
        all.run(arguments, &bundle, checkpoint, number, &documents)?;
    }
    let of_documents = || &all.targets[..documents.len()];
    let reference = arguments.reference.as_deref();
    let reference = reference.map(|path| reference_losses(arguments, path, &bundle, of_documents()));
    let reference = reference.transpose()?;
    let measure = if arguments.moments.is_empty() { Measure::Gradient } else { Measure::Step };
    let setup = all.setup(&bundle, measure);
    let count = documents.len();
    let values = table(&setup, &mut all, 0..count, &documents, reference.as_deref())?.finish()?;
    let (words, planted_words) = words(&bundle, &documents, &all.planted)?;
    let passed = count..all.targets.len();
    let planted = Planted {
        table: table(&setup, &mut all, passed, &documents, None)?,
        targets: all.planted.iter().map(|item| item.target).collect(),
        words: planted_words,
    };
    let planted = (!planted.targets.is_empty()).then_some(&planted);
    let report = ValueReport::new(&values, &words, planted, &all.shows_sealed)?;
    let mut copies = copies(&values, arguments)?;
    for number in (0..values.len()).filter(|number| all.shows_sealed[*number]) {
        (copies.expected[number], copies.whole[number]) = (0.0, 0);
    }
    let rows = || {
        let with_copies = |(number, row): (usize, ValueRow)| ValueRow {
            copies: Some(copies.expected[number] as f32),
            copies_int: Some(copies.whole[number]),
            exclude: Some(u8::from(all.shows_sealed[number])),
            overlap: Some(words.all[number] as f32),
            ..row
        };
        values.rows().enumerate().map(with_copies)
    };
    files::whole_folder(&arguments.out, |partial| {
        write_lines(&partial.join("values.jsonl"), rows())?;
        #[cfg(feature = "parquet")]
        crate::feedback::value::write_parquet(&partial.join("values.parquet"), rows())?;
        files::write_atomic(&partial.join("repeats.bin"), &copies.repeats())?;
        report.write(&partial.join("report.json"))
    })?;
    Ok(report)
}

/// Numbers of some of what was passed over: documents of the stream, or what is planted behind them.
fn table(
    setup: &Setup,
    all: &mut Passes,
    numbers: Range<usize>,
    documents: &[CorpusDocument],
    reference: Option<&[f64]>,
) -> Result<ValueTable> {
    let mut table = ValueTable::new(setup.clone())?;
    for number in numbers {
        let target = &all.targets[number];
        let planted = || (PLANTED.to_owned(), target.id.clone());
        let (source, id) = documents.get(number).map_or_else(planted, |own| (own.source.clone(), own.id.clone()));
        table.push(&Document {
            id,
            source,
            place: Place::default(),
            tokens: target.tokens.len() as u32,
            loss_tokens: (target.tokens.len() - target.start) as u32,
            loss: all.losses[number],
            loss_ref: reference.map(|losses| losses[number]),
            at: std::mem::take(&mut all.at[number]),
        })?;
    }
    Ok(table)
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

/// What word overlap with the feedback items says of each document, and of what is planted.
fn words(bundle: &Bundle, documents: &[CorpusDocument], planted: &[PlantedItem]) -> Result<(Words, Words)> {
    let mut counts = WordCounts::default();
    for document in documents {
        counts.add(&document.text);
    }
    let items = bundle.items()?;
    let (mut of_documents, mut of_planted) = (Words::default(), Words::default());
    let texts = |target: &TargetNote| -> Vec<String> {
        let own = items.iter().filter(|item| item.task == target.name);
        own.map(|item| format!("{}{}", item.context, item.answer)).collect()
    };
    let targets: Vec<Vec<String>> = bundle.manifest.targets.iter().map(texts).collect();
    let against = |targets: &[Vec<String>]| {
        let overlap = counts.against(targets.iter().map(|items| items.iter().map(String::as_str).collect::<Vec<_>>()));
        let documents: Vec<f64> = documents.iter().map(|document| overlap.score(&document.text)).collect();
        let planted: Vec<f64> = planted.iter().map(|item| overlap.score(&item.text)).collect();
        (documents, planted)
    };
    (of_documents.all, of_planted.all) = against(&targets);
    for target in &targets {
        let (documents, planted) = against(std::slice::from_ref(target));
        of_documents.by_target.push(documents);
        of_planted.by_target.push(planted);
    }
    Ok((of_documents, of_planted))
}
