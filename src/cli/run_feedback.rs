//! What `veval run` leaves for the trainer: `feedback build`, `value` and `mix` for the last checkpoint of a run, as the
//! suite's table `[feedback]` has it.

use std::path::Path;

use super::args::{FeedbackBuildArguments, FeedbackValueArguments, MixArguments, RunArguments, SuiteAgain};
use super::feedback::{build, mix, value};
use crate::ckpt::CheckpointRef;
use crate::ctx;
use crate::error::{Error, Result};
use crate::feedback::mix::Run;
use crate::feedback::{Change, Fresh, FreshFeedback, Origin, Parameters};
use crate::lab::train::MixtureFile;
use crate::store::{Manifest, RunFolder};
use crate::suite::{FeedbackTable, Suite};
use crate::util::{files, hash};

/// What is to be done when the scores are there.
pub(super) struct FeedbackWork<'a> {
    arguments: &'a RunArguments,
    table: &'a FeedbackTable,
    parameters: Parameters,
    /// Of stream and mixture.
    files: Vec<String>,
    /// Where the next mixture begins to hold.
    start_tokens: u64,
}

impl<'a> FeedbackWork<'a> {
    /// None where the suite does not ask for it, or where only a part of it is run.
    ///
    /// # Errors
    /// Parameters that cannot be read; a stream or a mixture that is not there; a mixture that ends before
    /// `checkpoint`, or a checkpoint that does not say how far it is.
    pub fn of(arguments: &'a RunArguments, suite: &'a Suite, checkpoint: &CheckpointRef) -> Result<Option<Self>> {
        let in_part = arguments.limit.is_some() || !arguments.tasks.is_empty() || arguments.shard.is_some();
        let Some(table) = suite.feedback.as_ref().filter(|_| !arguments.no_feedback && !in_part) else {
            return Ok(None);
        };
        let in_suite = |error: Error| error.in_file(&arguments.suite).at("[feedback]");
        if arguments.add_bos.is_some() {
            let message = "expected no --add-bos: gradients are of texts as the tokenizer begins them";
            return Err(in_suite(Error::bad(message)).help("leave feedback out with --no-feedback"));
        }
        let parameters = table.parameters.parse().map_err(|message: String| in_suite(Error::bad(message)))?;
        let mut found = vec![hash::fingerprint_file(&table.stream)?];
        let mut start_tokens = 0;
        if let Some(path) = &table.mixture {
            found.push(hash::fingerprint_file(path)?);
            let run = Run::of(&MixtureFile::read(path)?, table.total_tokens, None).map_err(|e| e.in_file(path))?;
            start_tokens = table.start_tokens.or(checkpoint.tokens).ok_or_else(|| {
                let message =
                    format!("expected how many tokens {} has seen, found nothing that says so", checkpoint.name);
                in_suite(Error::bad(message)).help("set `start_tokens` in [feedback]: a mixture changes from there on")
            })?;
            if run.total_tokens <= start_tokens {
                let message = format!(
                    "expected a training run that goes on, found {} tokens in all and {start_tokens} at {}",
                    run.total_tokens, checkpoint.name
                );
                let help = "set `total_tokens` in [feedback], or leave feedback out with --no-feedback";
                return Err(in_suite(Error::bad(message)).help(help));
            }
        }
        Ok(Some(Self { arguments, table, parameters, files: found, start_tokens }))
    }

    /// Makes it in the run's folder, unless it is there already.
    ///
    /// # Errors
    /// Those of the three verbs. Where there is no next mixture to be had, set and values are there all the same.
    pub fn make(&self, checkpoint: &CheckpointRef, run: &Path, manifest: &Manifest) -> Result<()> {
        let _lock = RunFolder::at(run).lock()?;
        let key = serde_json::json!({
            "run": manifest.key, "files": self.files, "checkpoint": checkpoint.name, "step": checkpoint.step,
            "start_tokens": self.start_tokens, "veval": ctx::VERSION,
        });
        let key = hash::fingerprint(key.to_string().as_bytes());
        // What cannot be read any more is made again.
        let known = FreshFeedback::read(run).ok().flatten().map(|known| known.fresh);
        let fresh = match known.filter(|known| known.key == key && !self.arguments.again) {
            Some(known) => known,
            None => self.anew(
                checkpoint,
                run,
                Origin { key, run: manifest.key.clone(), stream: self.table.stream.to_string_lossy().into_owned() },
            )?,
        };
        match fresh.refused {
            Some(reason) => Err(Error::bad(reason).in_file(&self.arguments.suite).at("[feedback]")),
            None => Ok(()),
        }
    }

    fn anew(&self, checkpoint: &CheckpointRef, run: &Path, origin: Origin) -> Result<Fresh> {
        self.say(&format!("{}: feedback for the trainer", checkpoint.name));
        let folder = Fresh::folder(run);
        let mut made = None;
        files::whole_folder(&folder, |partial| {
            let named = std::slice::from_ref(checkpoint);
            build::make(&self.build(partial), named)?;
            value::make(&self.value(partial), named)?;
            let change = match self.mix(partial).map(|arguments| mix::make(&arguments)).transpose() {
                Ok(mixed) => Ok(mixed.as_ref().and_then(|mixed| mixed.stages.last()).map(Change::from)),
                Err(error) => Err(error.to_string()),
            };
            let fresh = Fresh::new(origin, change);
            fresh.write(partial)?;
            made = Some(fresh);
            Ok(())
        })?;
        self.say(&format!("{}: {}", checkpoint.name, folder.display()));
        made.ok_or_else(|| Error::internal("feedback that was just made"))
    }

    fn say(&self, text: &str) {
        if !self.arguments.quiet {
            eprintln!("{text}");
        }
    }

    fn build(&self, folder: &Path) -> FeedbackBuildArguments {
        FeedbackBuildArguments {
            suite: self.arguments.suite.clone(),
            checkpoints: Vec::new(),
            tasks: self.table.tasks.clone(),
            items: self.table.items,
            parameters: self.parameters.clone(),
            parts: FeedbackBuildArguments::PARTS,
            shuffle_answers: false,
            proj_dim: FeedbackBuildArguments::PROJ_DIM,
            data_dir: self.arguments.data_dir.clone(),
            cost: self.arguments.cost,
            quiet: self.arguments.quiet,
            out: folder.join("set"),
        }
    }

    fn value(&self, folder: &Path) -> FeedbackValueArguments {
        FeedbackValueArguments {
            bundle: folder.join("set"),
            checkpoints: Vec::new(),
            stream: self.table.stream.clone(),
            sources: Vec::new(),
            sample: self.table.sample,
            moments: Vec::new(),
            again: SuiteAgain { suite: Some(self.arguments.suite.clone()), data_dir: self.arguments.data_dir.clone() },
            copy_strength: FeedbackValueArguments::COPY_STRENGTH,
            copy_seed: 0,
            planted: FeedbackValueArguments::PLANTED,
            reference: None,
            cost: self.arguments.cost,
            quiet: self.arguments.quiet,
            out: folder.join("values"),
        }
    }

    fn mix(&self, folder: &Path) -> Option<MixArguments> {
        Some(MixArguments {
            mixture: self.table.mixture.clone()?,
            values: folder.join("values").join("values.jsonl"),
            target: None,
            start_tokens: self.start_tokens,
            // A mixture that grows night by night has each name once.
            stage: format!("feedback@{}", self.start_tokens),
            limit: MixArguments::LIMIT,
            floor: MixArguments::FLOOR,
            max_repeat: None,
            total_tokens: self.table.total_tokens,
            sequence_length: None,
            seed: 0,
            out: folder.join("next.json"),
        })
    }
}
