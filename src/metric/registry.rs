//! Every metric: its name, what it applies to, how items make a score.

use super::answer::{MatchRules, exact_match};
use super::filter::Filter;
use super::outcome::{Outcome, sum};

/// Which outcomes a metric reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    Choices,
    Cloze,
    Rolling,
    Answer,
}

/// How items make a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// Mean of zeros and ones.
    Proportion,
    /// Mean.
    Mean,
    /// `exp(-mean)`: perplexity per target.
    ExpNegMean,
    /// `exp(sum / weights)`
    ExpRatio,
    /// `sum / weights`
    Ratio,
}

/// A metric of one kind of outcome.
#[derive(Debug)]
pub struct Metric {
    /// The field's name.
    pub name: &'static str,
    pub kind: OutcomeKind,
    pub aggregation: Aggregation,
    pub higher_is_better: bool,
    /// Computed when a task names no metrics.
    pub default: bool,
    pub about: &'static str,
    /// Value and weight of one item; `None` where the item has none.
    value: fn(&Outcome) -> Option<(f64, f64)>,
}

macro_rules! metrics {
    ($($name:literal $kind:ident $aggregation:ident $higher:literal $default:literal $about:literal $value:expr;)*) => {
        /// Every metric, in the order of tables.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: OutcomeKind::$kind,
            aggregation: Aggregation::$aggregation,
            higher_is_better: $higher,
            default: $default,
            about: $about,
            value: $value,
        }),*];
    };
}

macro_rules! choices {
    ($method:ident) => {
        |outcome| match outcome {
            Outcome::Choices(item) => Some((item.$method(), 1.0)),
            _ => None,
        }
    };
    (optional $method:ident) => {
        |outcome| match outcome {
            Outcome::Choices(item) => Some((item.$method()?, 1.0)),
            _ => None,
        }
    };
}

/// Negative log-likelihood over the unit that `weight` counts.
macro_rules! rolling {
    ($unit:expr, $weight:expr) => {
        |outcome| match outcome {
            Outcome::Rolling(item) => Some((-sum(&item.log_probs) / $unit, $weight(item) as f64)),
            _ => None,
        }
    };
}

metrics! {
    "acc" Choices Proportion true true "largest summed log-probability is right" choices!(acc);
    "acc_norm" Choices Proportion true true "the same per character of the choice" choices!(acc_norm);
    "acc_bytes" Choices Proportion true true "the same per byte of the choice" choices!(acc_bytes);
    "acc_per_token" Choices Proportion true true "the same per scored token" choices!(acc_per_token);
    "acc_mutual_info" Choices Proportion true false "the same minus the log-probability without context (PMI)" choices!(optional acc_mutual_info);
    "exact_match" Choices Proportion true false "every token of the right choice was the first choice" choices!(exact_match);
    "brier_score" Choices Mean false true "squared distance of the softmax over choices to the right one" choices!(optional brier_score);
    "mc2" Choices Mean true false "probability mass over the choices that lies on right ones" choices!(right_mass);
    "bits_per_byte" Choices Mean false true "bits per byte of the right choice" choices!(optional bits_per_byte);
    "ties" Choices Proportion false true "share of items whose largest sum is shared" choices!(tie);
    "acc" Cloze Proportion true true "every token of the target was the first choice" |outcome| match outcome {
        Outcome::Cloze(item) => Some((f64::from(u8::from(item.greedy)), 1.0)),
        _ => None,
    };
    "perplexity" Cloze ExpNegMean false true "per target, not per token" |outcome| match outcome {
        Outcome::Cloze(item) => Some((sum(&item.log_probs), 1.0)),
        _ => None,
    };
    "bits_per_byte" Cloze Ratio false true "bits per byte of the targets" |outcome| match outcome {
        Outcome::Cloze(item) => Some((-sum(&item.log_probs) / std::f64::consts::LN_2, item.bytes as f64)),
        _ => None,
    };
    "word_perplexity" Rolling ExpRatio false true "per white-space word of the original text" rolling!(1.0, |item: &super::RollingOutcome| item.words);
    "byte_perplexity" Rolling ExpRatio false true "per byte of the original text" rolling!(1.0, |item: &super::RollingOutcome| item.bytes);
    "bits_per_byte" Rolling Ratio false true "per byte of the original text" rolling!(std::f64::consts::LN_2, |item: &super::RollingOutcome| item.bytes);
    "token_perplexity" Rolling ExpRatio false true "per token of this tokenizer" rolling!(1.0, |item: &super::RollingOutcome| item.log_probs.len());
    "exact_match" Answer Proportion true true "the filtered answer equals a right one" |_| None;
}

impl Metric {
    /// Where a score can lie.
    pub fn bounds(&self) -> (f64, f64) {
        match self.aggregation {
            Aggregation::Proportion => (0.0, 1.0),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// The metric of this name for this kind.
    pub fn find(kind: OutcomeKind, name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.kind == kind && metric.name == name)
    }

    /// All metrics of a kind.
    pub fn of(kind: OutcomeKind) -> impl Iterator<Item = &'static Self> {
        METRICS.iter().filter(move |metric| metric.kind == kind)
    }

    /// Value and weight of an item. Filter and match rules matter for answers only.
    pub fn item(&self, outcome: &Outcome, filter: &Filter, rules: &MatchRules) -> Option<(f64, f64)> {
        match outcome {
            Outcome::Answer(item) => Some((exact_match(rules, &filter.apply(&item.text), &item.golds), 1.0)),
            _ => (self.value)(outcome),
        }
    }
}
