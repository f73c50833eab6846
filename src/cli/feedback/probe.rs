//! `veval feedback probe`: does one step do to the sealed items what the gradients say?

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::sealed::items_of;
use super::{one_checkpoint, packed};
use crate::cli::args::{CompanyName, FeedbackProbeArguments, Format};
use crate::cli::run::stop_when_interrupted;
use crate::cli::{grad, print, printable, progress};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::Direction;
use crate::feedback::bundle::{Bundle, mean};
use crate::feedback::probe::{
    AdamState, Change, Company, Cut, Interval, LinearRange, Probe, ProbeBatch, Relation, Steps, Tokens, batches,
    linear_range,
};
use crate::kernels::tape::Tape;
use crate::lab::corpus::CorpusDocument;
use crate::lm::{LanguageModel, Local, LocalOptions, cpu};
use crate::model::{Blueprint, Predicted};
use crate::request::SiteValues;
use crate::text::Tokenizer;

/// Sequences that go through the model together.
const AT_ONCE: usize = 4;

pub(super) fn probe(arguments: &FeedbackProbeArguments) -> Result<()> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let checkpoint = one_checkpoint(&arguments.checkpoint, arguments.quiet)?;
    let threads = arguments.threads.count();
    let kernels = cpu(threads)?;
    let model = Local::open(checkpoint.address.clone(), Tape::new(kernels.clone()), &LocalOptions::default())?;
    let at = bundle.at(model.info(), model.tokenizer())?;
    let direction = mean_direction(&bundle, &bundle.parts(at, model.decoder().leaves())?);
    let (tokenizer, longest) = (model.tokenizer(), model.info().max_length);
    let chosen = items_of(&bundle, &arguments.again, (tokenizer, longest), (false, threads))?.chosen;
    let sealed: Vec<Vec<Predicted<'_>>> = chosen
        .targets
        .iter()
        .map(|target| {
            // They stand in the order of hashes.
            let sealed = target.sealed.iter().take(arguments.sealed_items.unwrap_or(usize::MAX));
            sealed.map(|item| Predicted { tokens: &item.tokens, start: item.start }).collect()
        })
        .collect();
    let length = arguments.length.unwrap_or(longest.min(256));
    if length > longest {
        let message = format!("expected sequences of at most {longest} tokens as the model takes, found {length}");
        return Err(Error::bad(message).at("--length"));
    }
    let cut = Cut {
        batches: arguments.batches,
        sequences: arguments.sequences,
        length,
        company: match arguments.company {
            CompanyName::Source => Company::Single,
            CompanyName::Mixed => Company::Mixed,
        },
        seed: arguments.seed,
    };
    let documents = grad::documents(&arguments.stream, &arguments.sources, None)?;
    let batches = batches(&encoded(&documents, tokenizer)?, cut)?;
    let own = checkpoint.address.base.join("moments.safetensors");
    let moments = arguments.moments.as_deref().or(own.exists().then_some(own.as_path()));
    let moments = moments.map(|path| grad::open_moments(path, &model)).transpose()?;
    let adam = moments.map(|file| AdamState::read(&file, arguments.weight_decay, arguments.clip)).transpose()?;
    let rate = match arguments.rate {
        Some(rate) => rate,
        None => trainers_rate(&checkpoint.address.base)?,
    };
    let (blueprint, weights) = Blueprint::open(&checkpoint.address)?;
    let probe = Probe {
        blueprint: &blueprint,
        kernels: &kernels,
        weights: &weights,
        direction: &direction,
        sealed: &sealed,
        adam: adam.as_ref(),
        at_once: AT_ONCE,
    };
    let mut factors = arguments.factors.clone();
    factors.push(1.0);
    factors.sort_by(f64::total_cmp);
    factors.dedup();
    let rates: Vec<f64> = factors.iter().map(|factor| factor * rate).collect();
    let steps = taken(&probe, &batches, &rates, arguments.quiet)?;
    let result = Found {
        checkpoint: &checkpoint.name,
        adam: adam.as_ref(),
        rate,
        rates,
        batches: &batches,
        steps: &steps,
        seed: arguments.seed,
    };
    match arguments.format {
        Format::Json => print(&format!("{:#}\n", result.json()?)),
        Format::Csv => print(&result.csv()?),
        Format::Table => print(&printable(&result.text()?)),
    }
}

/// Mean over targets of their mean gradients.
fn mean_direction(bundle: &Bundle, parts: &[Vec<Direction>]) -> Direction {
    let mut direction = Direction::new();
    for (parts, note) in parts.iter().zip(&bundle.manifest.targets) {
        for (name, own) in mean(parts, &note.parts) {
            let to = direction
                .entry(name)
                .or_insert_with(|| SiteValues { shape: own.shape.clone(), values: vec![0.0; own.values.len()] });
            let share = 1.0 / bundle.manifest.targets.len() as f32;
            to.values.iter_mut().zip(&own.values).for_each(|(sum, value)| *sum += share * value);
        }
    }
    direction
}

/// Documents as a trainer packs them.
fn encoded(documents: &[CorpusDocument], tokenizer: &Tokenizer) -> Result<Vec<Tokens>> {
    let encode = |document: &CorpusDocument| -> Result<Tokens> {
        Ok(Tokens { source: document.source.clone(), tokens: packed(document, tokenizer)? })
    };
    documents.iter().map(encode).collect()
}

/// The learning rate of the last update, as a trainer's state says.
fn trainers_rate(folder: &std::path::Path) -> Result<f64> {
    let path = folder.join("trainer_state.json");
    let missing =
        || Error::bad("expected the trainer's learning rate, found none").in_file(&path).help("name it with --rate");
    let text = crate::util::files::read_text(&path, 256 << 20).map_err(|_| missing())?;
    let state: Value = serde_json::from_str(&text).map_err(|_| missing())?;
    // Ours at the top; Hugging Face's Trainer has it in the last line of its log.
    let logged = state.get("log_history").and_then(Value::as_array);
    let last = logged.and_then(|log| log.iter().rev().find_map(|line| line.get("learning_rate")));
    let rate = state.get("learning_rate").or(last).and_then(Value::as_f64);
    rate.filter(|rate| *rate > 0.0).ok_or_else(missing)
}

/// By batch and rate.
fn taken(probe: &Probe<'_>, batches: &[ProbeBatch], rates: &[f64], quiet: bool) -> Result<Vec<Vec<Steps>>> {
    stop_when_interrupted()?;
    let before = probe.loss(probe.weights)?;
    let bar = progress::items_bar(batches.len(), 0, quiet);
    let mut steps = Vec::with_capacity(batches.len());
    for batch in batches {
        if ctx::interrupted() {
            let message = format!("interrupted after {} of {} batches", steps.len(), batches.len());
            let error = Error::new(ErrorKind::Incomplete, Diagnostic::new(message));
            return Err(error.help("nothing is kept; --batches asks for fewer"));
        }
        steps.push(probe.steps(&batch.sequences, rates, before)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(steps)
}

/// What was found.
struct Found<'a> {
    checkpoint: &'a str,
    adam: Option<&'a AdamState>,
    /// The trainer's.
    rate: f64,
    rates: Vec<f64>,
    batches: &'a [ProbeBatch],
    steps: &'a [Vec<Steps>],
    seed: u64,
}

/// A way to take a step.
#[derive(Clone, Copy)]
enum Way {
    Sgd,
    Adam,
}

impl Found<'_> {
    /// At each rate; none where the way was not tried.
    fn relations(&self, way: Way) -> Result<Option<Vec<(f64, Relation)>>> {
        let mut relations = Vec::new();
        for (place, rate) in self.rates.iter().enumerate() {
            let changes = self.steps.iter().map(|steps| match way {
                Way::Sgd => Some(steps[place].sgd),
                Way::Adam => steps[place].adam,
            });
            let Some(changes) = changes.collect::<Option<Vec<_>>>() else { return Ok(None) };
            let (predicted, realised): (Vec<f64>, Vec<f64>) =
                changes.into_iter().map(|change| (change.predicted, change.realised)).unzip();
            relations.push((*rate, Relation::of(&predicted, &realised, self.seed)?));
        }
        Ok(Some(relations))
    }

    fn json(&self) -> Result<Value> {
        let way = |way: Way| -> Result<Value> {
            let Some(relations) = self.relations(way)? else { return Ok(Value::Null) };
            let at = relations.iter().find(|(rate, _)| *rate == self.rate).map(|(_, relation)| *relation);
            let own = |of: &dyn Fn(&Relation) -> Option<Interval>| at.as_ref().and_then(of);
            let (pearson, slope, ratio) = (own(&|r| r.pearson), own(&|r| r.slope), own(&|r| r.ratio));
            let range = linear_range(&relations);
            Ok(json!({
                "pearson": pearson.map(|own| own.value),
                "pearson_interval": pearson.map(|own| [own.low, own.high]),
                "slope": slope.map(|own| own.value),
                "slope_interval": slope.map(|own| [own.low, own.high]),
                "ratio": ratio.map(|own| own.value),
                "ratio_interval": ratio.map(|own| [own.low, own.high]),
                "linear_from": range.map(|range| range.first),
                "linear_to": range.map(|range| range.last),
                "breaks_at": range.and_then(|range| range.breaks_at),
                "steps": relations.iter().map(|(rate, own)| json!({ "rate": rate, "relation": own })).collect::<Vec<_>>(),
            }))
        };
        Ok(json!({
            "schema": "veval.probe/1",
            "checkpoint": self.checkpoint,
            "batches": self.batches.len(),
            "rate": self.rate,
            "clip": self.adam.and_then(|state| state.clip),
            "weight_decay": self.adam.map(|state| state.optimizer.weight_decay),
            "sgd": way(Way::Sgd)?,
            "adam": way(Way::Adam)?,
        }))
    }

    /// A line for every step that was taken.
    fn csv(&self) -> Result<String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let internal = |e: String| Error::internal(format!("csv: {e}"));
        let mut line = |fields: [&str; 6]| csv.write_record(fields).map_err(|e| internal(e.to_string()));
        line(["batch", "source", "step", "rate", "predicted", "realised"])?;
        for (number, (batch, steps)) in self.batches.iter().zip(self.steps).enumerate() {
            for (rate, own) in self.rates.iter().zip(steps) {
                for (name, change) in [("sgd", Some(own.sgd)), ("adam", own.adam)] {
                    let Some(Change { predicted, realised }) = change else { continue };
                    let [number, rate, predicted, realised] =
                        [number as f64, *rate, predicted, realised].map(|value| value.to_string());
                    line([&number, &batch.source, name, &rate, &predicted, &realised])?;
                }
            }
        }
        let bytes = csv.into_inner().map_err(|e| internal(e.to_string()))?;
        String::from_utf8(bytes).map_err(|e| internal(e.to_string()))
    }

    fn text(&self) -> Result<String> {
        let mut text = format!(
            "{}: {} batches; the trainer's rate is {}{}\n{:<6} {:>10} {:>9} {:>17} {:>7} {:>15} {:>11} {:>11}\n",
            self.checkpoint,
            self.batches.len(),
            self.rate,
            self.adam.map_or_else(String::new, |state| {
                let clip = state.clip.map_or_else(|| "none".to_owned(), |clip| clip.to_string());
                format!(", AdamW's decay {}, its clip {clip}", state.optimizer.weight_decay)
            }),
            "step",
            "rate",
            "pearson",
            "interval",
            "slope",
            "interval",
            "predicted",
            "realised"
        );
        for (name, way) in [("sgd", Way::Sgd), ("adam", Way::Adam)] {
            let Some(relations) = self.relations(way)? else {
                text += "adam: not tried, as there are no moments (--moments)\n";
                continue;
            };
            for (rate, own) in &relations {
                let shown = |own: Option<Interval>| match own {
                    Some(own) => [format!("{:.3}", own.value), format!("{:.3} – {:.3}", own.low, own.high)],
                    None => ["–".to_owned(), "–".to_owned()],
                };
                let ([pearson, pearson_interval], [slope, slope_interval]) = (shown(own.pearson), shown(own.slope));
                let nats = |own: Option<f64>| own.map_or_else(|| "–".to_owned(), |own| format!("{own:.3e}"));
                let _ = writeln!(
                    text,
                    "{name:<6} {rate:>10.3e} {pearson:>9} {pearson_interval:>17} {slope:>7} {slope_interval:>15} {:>11} {:>11}",
                    nats(own.mean_predicted),
                    nats(own.mean_realised)
                );
            }
            text += &linear(name, linear_range(&relations));
        }
        Ok(text)
    }
}

fn linear(name: &str, range: Option<LinearRange>) -> String {
    match range {
        None => format!("{name}: gradients foretell none of these steps (pearson 0.9, slope 0.9 to 1.1)\n"),
        Some(LinearRange { first, last, breaks_at: None }) => {
            format!("{name}: gradients foretell steps from {first:.3e} to {last:.3e}, the largest that was tried\n")
        }
        Some(LinearRange { first, last, breaks_at: Some(at) }) => {
            format!("{name}: gradients foretell steps from {first:.3e} to {last:.3e}, and no more at {at:.3e}\n")
        }
    }
}
