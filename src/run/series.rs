//! One checkpoint after the other: the weights of the next are read while the present one runs.

use super::encode::{Encoded, encode};
use super::event::{Event, Events};
use super::execute::{Outcomes, RunOptions, run_checkpoint};
use super::prepare::Prepared;
use crate::ckpt::CheckpointRef;
use crate::ctx;
use crate::error::{Error, Result};
use crate::lm::LanguageModel;
use crate::text::Tokenizer;

/// How checkpoints become models.
pub struct Opener<'a, M> {
    pub open: &'a (dyn Fn(&CheckpointRef) -> Result<M> + Sync),
    /// Bytes that it takes to read this one beside a model that runs, if there is room.
    pub ahead: &'a (dyn Fn(&CheckpointRef) -> Option<usize> + Sync),
}

/// Runs all checkpoints, each with the name of its run folder, and hands over what each scored.
pub fn run_series<M: LanguageModel + Send>(
    prepared: &Prepared,
    checkpoints: &[(CheckpointRef, String)],
    opener: &Opener<'_, M>,
    options: &RunOptions,
    events: &mut dyn Events,
    mut done: impl FnMut(Outcomes),
) -> Result<()> {
    let mut encoder = Encoder { prepared, threads: options.threads, known: None };
    std::thread::scope(|scope| {
        let mut waiting = None;
        for (index, (checkpoint, name)) in checkpoints.iter().enumerate() {
            if ctx::interrupted() {
                return Err(Error::interrupted());
            }
            events.event(&Event::Loading { checkpoint: name });
            let model = match waiting.take() {
                Some(thread) => join(thread)?,
                None => (opener.open)(checkpoint)?,
            };
            let encoded = encoder.encoded(model.tokenizer(), model.info().max_length)?;
            let next = checkpoints.get(index + 1).and_then(|(next, _)| Some((next, (opener.ahead)(next)?)));
            let soon = next.map_or(0, |(_, bytes)| ctx::memory_used().unwrap_or(0) + bytes);
            let options = RunOptions { soon, ..options.clone() };
            waiting = next.map(|(next, _)| scope.spawn(move || (opener.open)(next)));
            done(run_checkpoint(prepared, encoded, &model, (checkpoint, name), &options, events)?);
        }
        Ok(())
    })
}

fn join<M>(thread: std::thread::ScopedJoinHandle<'_, Result<M>>) -> Result<M> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Keeps the requests of the last tokenizer: the checkpoints of a series share one.
struct Encoder<'a> {
    prepared: &'a Prepared,
    threads: usize,
    known: Option<Known>,
}

struct Known {
    tokenizer: String,
    max_length: usize,
    encoded: Encoded,
}

impl Encoder<'_> {
    fn encoded(&mut self, tokenizer: &Tokenizer, max_length: usize) -> Result<&Encoded> {
        let same = |known: &Known| known.tokenizer == tokenizer.fingerprint() && known.max_length == max_length;
        if !self.known.as_ref().is_some_and(same) {
            self.known = Some(Known {
                tokenizer: tokenizer.fingerprint().to_owned(),
                max_length,
                encoded: encode(self.prepared, tokenizer, max_length, self.threads)?,
            });
        }
        let known = self.known.as_ref().map(|known| &known.encoded);
        known.ok_or_else(|| Error::internal("requests that were just made"))
    }
}
