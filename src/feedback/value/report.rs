//! What sources are worth and how far to trust it, as it is kept beside the values: `report.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::reliability::{Among, Comparison, agreement, recall};
use super::table::ValueTable;
use super::values::Values;
use crate::error::{Error, Result};
use crate::lab::random::Stream;
use crate::stats::{Estimate, normal_quantile, t_quantile};
use crate::util::files;

const SCHEMA: &str = "veval.value_report/1";
const MOST_BYTES: u64 = 64 << 20;
/// Ranks that agree less are mostly noise.
const LEAST_AGREEMENT: f64 = 0.3;

/// The report of some values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueReport {
    schema: String,
    pub documents: usize,
    /// Documents with 13 words in a row of a sealed item.
    pub documents_like_sealed_items: usize,
    /// Between the combined values with two halves of the items.
    pub split_half_spearman: Option<f64>,
    /// Between the combined values and word overlap with the feedback items.
    pub overlap_spearman: Option<f64>,
    pub overlap_pearson: Option<f64>,
    /// Sealed items of all targets put among the documents, found by the combined value and by word overlap.
    #[serde(default)]
    pub planted: Option<Comparison>,
    #[serde(default)]
    pub targets: Vec<TargetReport>,
    /// All of this in plain words.
    pub sentence: String,
    pub sources: Vec<SourceReport>,
}

/// How far the values for one target can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    pub name: String,
    /// Between the target's gradients of two halves of its items, at each checkpoint.
    pub split_half_cosine: Vec<Option<f64>>,
    pub split_half_spearman: Option<f64>,
    /// The target's own sealed items, by its own value and by word overlap with its own items.
    pub planted: Option<Comparison>,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    pub source: String,
    pub documents: usize,
    /// With a loss.
    pub tokens: u64,
    /// In standard units.
    pub combined: Worth,
    /// In nats of the target's loss per unit of learning rate.
    pub targets: BTreeMap<String, Worth>,
}

/// An estimate as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    pub value: f64,
    /// Of items, checkpoints and documents together.
    pub standard_error: Option<f64>,
    /// 95 %
    pub interval: Option<(f64, f64)>,
}

impl From<&Estimate> for Worth {
    fn from(own: &Estimate) -> Self {
        Self { value: own.value, standard_error: own.stderr, interval: own.interval }
    }
}

impl Worth {
    /// Whether zero lies outside of the interval.
    pub fn is_certain(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// What plain words say of some texts: overlap with the items of all targets, and with those of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Words {
    pub all: Vec<f64>,
    /// By target.
    pub by_target: Vec<Vec<f64>>,
}

/// Sealed items of the targets, read as documents: these are known to help.
#[derive(Debug)]
pub struct Planted {
    pub table: ValueTable,
    /// The target of each.
    pub targets: Vec<usize>,
    pub words: Words,
}

impl ValueReport {
    /// `words`: of the documents of the values. `like_sealed`: which of them have 13 words in a row of a sealed item; these
    /// do not count in what their sources are worth.
    ///
    /// # Errors
    /// Values that are no numbers.
    pub fn new(values: &Values, words: &Words, planted: Option<&Planted>, like_sealed: &[bool]) -> Result<Self> {
        let combined: Vec<f64> = values.combined().iter().copied().map(f64::from).collect();
        let overlap = agreement(&combined, &words.all);
        let names: Vec<&str> = values.targets().collect();
        let source = |own: super::GroupValue| SourceReport {
            combined: Worth::from(&own.combined),
            targets: names.iter().zip(&own.targets).map(|(name, own)| ((*name).to_owned(), own.into())).collect(),
            source: own.name,
            documents: own.documents,
            tokens: own.tokens,
        };
        let targets = values.split_halves().into_iter().enumerate().map(|(number, halves)| {
            Ok(TargetReport {
                name: names[number].to_owned(),
                split_half_cosine: halves.cosine,
                split_half_spearman: halves.spearman,
                planted: planted.map(|planted| planted.found(values, words, Some(number))).transpose()?,
            })
        });
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            documents: values.len(),
            documents_like_sealed_items: like_sealed.iter().filter(|shows| **shows).count(),
            split_half_spearman: values.combined_split_half(),
            overlap_spearman: overlap.spearman,
            overlap_pearson: overlap.pearson,
            planted: planted.map(|planted| planted.found(values, words, None)).transpose()?,
            targets: targets.collect::<Result<_>>()?,
            sentence: String::new(),
            sources: values.by_source(|number| !like_sealed[number]).into_iter().map(source).collect(),
        };
        report.sentence = report.in_words();
        Ok(report)
    }

    fn in_words(&self) -> String {
        let halves = match self.split_half_spearman {
            None => "Whether other items would say the same is unknown".to_owned(),
            Some(r) if r < LEAST_AGREEMENT => format!(
                "Other items would rank the documents otherwise (rank correlation of two halves of the items {r:.2}): \
                 use more items, or look at sources only"
            ),
            Some(r) => format!("Two halves of the items rank the documents alike (rank correlation {r:.2})"),
        };
        let words = self.overlap_spearman.map_or_else(|| "unknown".to_owned(), |r| format!("{r:.2}"));
        let planted = self.planted.as_ref().map_or_else(String::new, |found| format!(" {}", found.sentence()));
        format!("{halves}. Rank correlation with plain word overlap: {words}.{planted}")
    }

    /// Sources whose value is not zero for certain.
    pub fn certain(&self) -> usize {
        self.sources.iter().filter(|source| source.combined.is_certain()).count()
    }

    /// # Errors
    /// What the disk says.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::internal(format!("report: {e}")))?;
        files::write_atomic(path, format!("{text}\n").as_bytes())
    }

    /// # Errors
    /// No file, another file, or another format.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |message: String| {
            let help = "`veval feedback value` writes it; without it, errors are those of documents";
            Error::bad(message).in_file(path).help(help)
        };
        let report: Self = serde_json::from_str(&files::read_text(path, MOST_BYTES)?)
            .map_err(|e| bad(format!("expected the report of values: {e}")))?;
        if report.schema != SCHEMA {
            return Err(bad(format!("expected the schema {SCHEMA}, found {}", report.schema)));
        }
        Ok(report)
    }
}

impl Planted {
    /// Recall of what is planted, or of what belongs to one target, among the first tenth of all: documents that help as much
    /// may well stand before some of it.
    fn found(&self, values: &Values, words: &Words, target: Option<usize>) -> Result<Comparison> {
        let belongs = |at: &usize| target.is_none_or(|target| self.targets[*at] == target);
        let own: Vec<usize> = (0..self.targets.len()).filter(belongs).collect();
        let kept = |mut all: Vec<f64>| -> Vec<f64> {
            let planted = all.split_off(values.len());
            all.extend(own.iter().map(|&at| planted[at]));
            all
        };
        let of = |words: &Words| target.map_or(&words.all, |target| &words.by_target[target]).clone();
        let weights = values.part_weights();
        let again = |stream: &mut Stream| {
            let drawn: Vec<Vec<f64>> = weights.iter().map(|own| drawn(own, stream)).collect();
            kept(values.directions_with(&self.table, target, &drawn))
        };
        let mine = kept(values.directions_with(&self.table, target, &weights));
        let theirs = kept([of(words), of(&self.words)].concat());
        let planted: Vec<usize> = (values.len()..mine.len()).collect();
        let k = mine.len().div_ceil(10).max(planted.len());
        recall(&mine, &theirs, Among { planted: &planted, k }, again)
    }
}

/// Weights of parts that were drawn with replacement, as far from the weights of all as Student's quantile is beyond the
/// normal one: a few parts scatter less than what they are a sample of.
fn drawn(weights: &[f64], stream: &mut Stream) -> Vec<f64> {
    let count = weights.len();
    let mut drawn = vec![0.0; count];
    for _ in weights {
        let part = stream.below(count);
        drawn[part] += weights[part];
    }
    let total: f64 = drawn.iter().sum();
    let freedom = count as f64 - 1.0;
    let wider = t_quantile(freedom) / normal_quantile() * (count as f64 / freedom.max(1.0)).sqrt();
    let widened = |(drawn, weight): (f64, &f64)| weight + wider * (drawn / total - weight);
    drawn.into_iter().zip(weights).map(widened).collect()
}
