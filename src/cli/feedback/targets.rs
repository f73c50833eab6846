//! `veval feedback targets`: what the tokens of a stream should be taught, so that a step on them lowers the targets' loss.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::sealed::items_of;
use super::stream::sample_of;
use super::{one_checkpoint, packed};
use crate::cli::args::FeedbackTargetsArguments;
use crate::cli::run::stop_when_interrupted;
use crate::cli::{grad, print, printable, progress};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::bundle::{At, Bundle};
use crate::feedback::targets::{
    Aim, Design, Found, Gain, Slopes, SoftTarget, TargetFile, TargetOrigin, Window, design, windows,
};
use crate::lab::corpus::{CorpusDocument, fingerprint, read_corpus};
use crate::lm::{LanguageModel, Local, LocalOptions, cpu, shown_bytes};
use crate::model::Blueprint;
use crate::util::files;

/// Candidates whose slopes are held at once: 20 MB. Weights are moved once for so many.
const CANDIDATES_AT_ONCE: usize = 1 << 19;

pub(super) fn targets(arguments: &FeedbackTargetsArguments) -> Result<()> {
    files::check_free(&arguments.out)?;
    if let Some(folder) = arguments.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::create_folder(folder)?;
    }
    let bundle = Bundle::open(&arguments.bundle)?;
    let checkpoint = one_checkpoint(&arguments.checkpoint, arguments.quiet)?;
    let corpus = read_corpus(&arguments.stream)?;
    grad::check_sources(&corpus, &arguments.sources).map_err(|error| error.in_file(&arguments.stream))?;
    let cost = &arguments.cost;
    let options =
        LocalOptions { batch_tokens: cost.batch_tokens, max_memory: cost.max_memory, ..LocalOptions::default() };
    let model = Local::open(checkpoint.address.clone(), cpu(cost.threads.count())?, &options)?;
    let at = bundle.at(model.info(), model.tokenizer())?;
    let encoder = (model.tokenizer(), model.info().max_length);
    let measured = items_of(&bundle, &arguments.again, encoder, (false, cost.threads.count()))?;
    let mut wanted = sample_of(&corpus, arguments.sample);
    wanted.retain(|&number| arguments.sources.is_empty() || arguments.sources.contains(&corpus[number].source));
    let sealed: BTreeSet<usize> = wanted.iter().copied().filter(|&number| measured.shows(&corpus[number])).collect();
    let aim = aim(&bundle, at, &model)?;
    let (blueprint, weights) = Blueprint::open(&checkpoint.address)?;
    let mut designer = Designer {
        slopes: Slopes::new(model.decoder(), &blueprint, &weights, &aim),
        arguments,
        documents: vec![Vec::new(); corpus.len()],
        gain: None,
        value: 0.0,
        unsteady: 0,
    };
    stop_when_interrupted()?;
    designer.all(&corpus, wanted.difference(&sealed).copied().collect(), &model)?;
    let Designer { documents, gain, value, unsteady, .. } = designer;
    let Some(gain) = gain else {
        let message = format!("expected tokens to teach, found none in {} documents", wanted.len());
        return Err(Error::bad(message).in_file(&arguments.stream));
    };
    let origin = TargetOrigin {
        alpha_max: arguments.alpha,
        tokenizer: model.tokenizer().fingerprint().to_owned(),
        checkpoint: model.info().fingerprint.clone(),
        documents: fingerprint(&corpus),
    };
    TargetFile { origin, documents }.write(&arguments.out)?;
    progress::peak_memory(arguments.quiet);
    let head = format!("{}: {} tokens of {} documents", arguments.out.display(), gain.tokens, wanted.len());
    let mut text = text(&head, gain, value / gain.tokens as f64, aim.is_standard);
    for (count, kept) in [
        (sealed.len(), "documents with 13 words in a row of a sealed item, which keep their true tokens"),
        (unsteady, "tokens whose logits do not change evenly along the gradient, which are kept as they are"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{kept}: {count}");
        }
    }
    print(&printable(&text))
}

/// The set's gradients at this checkpoint, if there is memory for them and for what comes.
fn aim(bundle: &Bundle, at: At, model: &Local) -> Result<Aim> {
    /// Directions, and their sum with another target's parts and their means.
    const HELD: usize = 6;
    let leaves = model.decoder().leaves();
    let count = |(shape, _): &(&[usize], Vec<usize>)| shape.iter().product::<usize>();
    let parameters = leaves.parameters();
    let all: usize = parameters.values().map(count).sum();
    let named = bundle.manifest.parameter_names.iter().filter_map(|name| parameters.get(name.as_str()));
    let parts = bundle.manifest.targets.iter().map(|target| target.parts.len()).max().unwrap_or(0);
    let of_aim = (HELD + 2 * parts) * named.map(count).sum::<usize>() * size_of::<f32>();
    let needed = of_aim + all * size_of::<f32>() + Slopes::bytes(all);
    let left = model.memory_left();
    if needed > left {
        let (needed, left) = (shown_bytes(needed), shown_bytes(left));
        let error = Error::bad(format!("expected {needed} of memory for gradients and moved weights, found {left}"));
        return Err(error.help("raise --max-memory, or build the feedback set with fewer parameters (--params last:2)"));
    }
    Aim::of(&bundle.manifest.targets, &mut |target| bundle.parts_of(at, leaves, target))
}

/// Makes targets of documents, some at a time.
struct Designer<'a> {
    slopes: Slopes<'a>,
    arguments: &'a FeedbackTargetsArguments,
    /// By document of the corpus.
    documents: Vec<Vec<(u32, SoftTarget)>>,
    gain: Option<Gain>,
    value: f64,
    unsteady: usize,
}

impl Designer<'_> {
    fn all(&mut self, corpus: &[CorpusDocument], wanted: Vec<usize>, model: &Local) -> Result<()> {
        let (tokenizer, longest) = (model.tokenizer(), model.info().max_length);
        let kept = self.arguments.candidates.min(model.decoder().spec().vocab);
        let tokens_at_once = CANDIDATES_AT_ONCE.div_ceil(kept);
        let bar = progress::items_bar(wanted.len(), 0, self.arguments.quiet);
        let (mut waiting, mut count) = (Vec::new(), 0);
        let last = wanted.len();
        for (done, number) in wanted.into_iter().enumerate() {
            for window in windows(number, &packed(&corpus[number], tokenizer)?, tokenizer.prefix(), longest) {
                count += window.predicted();
                waiting.push(window);
                if count < tokens_at_once {
                    continue;
                }
                if ctx::interrupted() {
                    let message = format!("interrupted after {done} of {last} documents; nothing was written");
                    let error = Error::new(ErrorKind::Incomplete, Diagnostic::new(message));
                    return Err(error.help("--sample asks for fewer documents"));
                }
                self.design(&std::mem::take(&mut waiting), kept)?;
                count = 0;
            }
            bar.set_position(done as u64 + 1);
        }
        if count > 0 {
            self.design(&waiting, kept)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn design(&mut self, windows: &[Window], kept: usize) -> Result<()> {
        let Found { tokens, value, unsteady } = self.slopes.of(windows, kept, self.arguments.cost.batch_tokens)?;
        let Design { targets, gain } = design(&tokens, self.arguments.alpha)?;
        self.value += value;
        self.unsteady += unsteady;
        self.gain = Some(self.gain.map_or(gain, |before| before.and(gain)));
        let mut targets = targets.into_iter();
        for window in windows {
            let places = window.first as u32..;
            // What is taught as it is needs no row.
            let shifted = places.zip(targets.by_ref().take(window.predicted())).filter(|(_, own)| !own.is_one_hot());
            self.documents[window.document].extend(shifted);
        }
        Ok(())
    }
}

fn text(head: &str, gain: Gain, value: f64, is_standard: bool) -> String {
    let Gain { best, crossed, shifted, tokens } = gain;
    let unit = if is_standard { "standard units" } else { "nats" };
    let share = 100.0 * shifted as f64 / tokens as f64;
    let mut text = format!(
        "{head}, {shifted} of them shifted ({share:.1} %)\n\
         decrease of the targets' loss per unit of learning rate, {unit}\n\
         {:<46} {value:>+12.4e}\n{:<46} {best:>+12.4e}\n",
        "  the true tokens", "  gained by the soft targets",
    );
    if let Some(crossed) = crossed {
        let _ = writeln!(text, "{:<46} {crossed:>+12.4e}", "  gained as the other half of the items says");
        if crossed <= 0.0 && shifted > 0 {
            text += "other items would not choose these targets: use more items, or other tasks\n";
        }
    }
    text
}
