//! The passes of `veval feedback value`: documents, and sealed items planted among them, at each checkpoint.

use std::collections::BTreeSet;

use super::sealed::items_of;
use crate::ckpt::CheckpointRef;
use crate::cli::args::FeedbackValueArguments;
use crate::cli::{grad, progress};
use crate::error::{ErrorKind, Result};
use crate::feedback::bundle::{Bundle, ChosenTarget, TargetNote, gram};
use crate::feedback::value::{Checkpoint, DocumentAt, Measure, Setup, Target as ValueTarget};
use crate::feedback::{Collect, Compared, Target, scaling};
use crate::lab::corpus::CorpusDocument;
use crate::lm::LanguageModel;
use crate::text::Tokenizer;

/// What the passes at all checkpoints bring.
#[derive(Default)]
pub(super) struct Passes {
    /// Documents, and behind them what is planted.
    pub targets: Vec<Target>,
    pub planted: Vec<PlantedItem>,
    /// Whether a document has 13 words in a row of a sealed item.
    pub shows_sealed: Vec<bool>,
    /// At the last checkpoint.
    pub losses: Vec<f64>,
    /// By document and checkpoint.
    pub at: Vec<Vec<DocumentAt>>,
    /// By checkpoint and target.
    grams: Vec<Vec<Vec<f64>>>,
    steps: Vec<u64>,
}

/// A sealed item that is read as a document.
pub(super) struct PlantedItem {
    /// Number of its target in the set.
    pub target: usize,
    pub text: String,
}

impl Passes {
    pub fn run(
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
            self.read(arguments, bundle, (model.tokenizer(), model.info().max_length), documents)?;
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

    /// What is passed over at every checkpoint; the set's have one tokenizer.
    fn read(
        &mut self,
        arguments: &FeedbackValueArguments,
        bundle: &Bundle,
        encoder: (&Tokenizer, usize),
        documents: &[CorpusDocument],
    ) -> Result<()> {
        let measured = items_of(bundle, &arguments.again, encoder, (false, arguments.cost.threads.count()))?;
        self.shows_sealed = documents.iter().map(|document| measured.shows(document)).collect();
        self.targets = grad::document_targets(documents, encoder.0, encoder.1)?;
        for (number, target) in measured.chosen.targets.iter().enumerate() {
            self.plant(number, target, arguments.planted, encoder.0)?;
        }
        self.at = vec![Vec::new(); self.targets.len()];
        Ok(())
    }

    /// Sealed items come in the order of hashes, so the first are a random sample. Their loss is that of their answers, as the
    /// target has it: of such documents it is known that they help.
    fn plant(&mut self, target: usize, items: &ChosenTarget, most: usize, tokenizer: &Tokenizer) -> Result<()> {
        for item in items.sealed.iter().take(most) {
            self.planted.push(PlantedItem { target, text: tokenizer.decode(&item.tokens)? });
            self.targets.push(item.clone());
        }
        Ok(())
    }

    pub fn setup(&self, bundle: &Bundle, measure: Measure) -> Setup {
        let target = |(number, note): (usize, &TargetNote)| ValueTarget {
            name: note.name.clone(),
            domain: note.domain.clone(),
            parts: note.parts.iter().map(|items| *items as f64).collect(),
            grams: self.grams.iter().map(|grams| grams[number].clone()).collect(),
        };
        Setup {
            targets: bundle.manifest.targets.iter().enumerate().map(target).collect(),
            checkpoints: self.steps.iter().map(|&step| Checkpoint { step, weight: 1.0 }).collect(),
            measure,
        }
    }
}
