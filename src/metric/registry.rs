//! Every metric: its name, what it applies to, how items make a score.

use super::aggregate::ItemValue;
use super::answer::{Given, MatchRules};
use super::filter::Filter;
use super::outcome::{Outcome, sum};
use super::text::chrf;
use super::text::equality::Part::{Prefix, Whole};
use super::text::rouge::Kind as Rouge;

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
    /// BLEU of the summed counts.
    Bleu,
    /// chrF or chrF++ of the summed counts.
    Chrf,
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
    value: Value,
}

/// How an item's value is computed.
#[derive(Debug)]
enum Value {
    /// From the outcome; `None` where the item has no value.
    Outcome(fn(&Outcome) -> Option<ItemValue>),
    /// From a generated answer, filtered.
    Answer(fn(&Given<'_>) -> ItemValue),
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
        Value::Outcome(|outcome| match outcome {
            Outcome::Choices(item) => Some(ItemValue::one(item.$method())),
            _ => None,
        })
    };
    (optional $method:ident) => {
        Value::Outcome(|outcome| match outcome {
            Outcome::Choices(item) => item.$method().map(ItemValue::one),
            _ => None,
        })
    };
}

/// Value and weight.
macro_rules! cloze {
    ($item:ident: $value:expr, $weight:expr) => {
        Value::Outcome(|outcome| match outcome {
            Outcome::Cloze($item) => Some(ItemValue::Weighted($value, $weight)),
            _ => None,
        })
    };
}

/// A number for every generated answer.
macro_rules! answer {
    ($method:ident($($argument:expr)?)) => {
        Value::Answer(|given| ItemValue::one(given.$method($($argument)?)))
    };
}

/// Negative log-likelihood over the unit that `weight` counts.
macro_rules! rolling {
    ($unit:expr, $weight:expr) => {
        Value::Outcome(|outcome| match outcome {
            Outcome::Rolling(item) => Some(ItemValue::Weighted(-sum(&item.log_probs) / $unit, $weight(item) as f64)),
            _ => None,
        })
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
    "acc" Cloze Proportion true true "every token of the target was the first choice" cloze!(item: f64::from(u8::from(item.greedy)), 1.0);
    "perplexity" Cloze ExpNegMean false true "per target, not per token" cloze!(item: sum(&item.log_probs), 1.0);
    "bits_per_byte" Cloze Ratio false true "bits per byte of the targets" cloze!(item: -sum(&item.log_probs) / std::f64::consts::LN_2, item.bytes as f64);
    "word_perplexity" Rolling ExpRatio false true "per white-space word of the original text" rolling!(1.0, |item: &super::RollingOutcome| item.words);
    "byte_perplexity" Rolling ExpRatio false true "per byte of the original text" rolling!(1.0, |item: &super::RollingOutcome| item.bytes);
    "bits_per_byte" Rolling Ratio false true "per byte of the original text" rolling!(std::f64::consts::LN_2, |item: &super::RollingOutcome| item.bytes);
    "token_perplexity" Rolling ExpRatio false true "per token of this tokenizer" rolling!(1.0, |item: &super::RollingOutcome| item.log_probs.len());
    "exact_match" Answer Proportion true true "the filtered answer equals a right one" answer!(exact_match());
    "prefix_exact_match" Answer Proportion true false "the stripped answer begins with a right one (HELM)" answer!(plain_match(Prefix));
    "quasi_exact_match" Answer Proportion true false "equal without case, punctuation, articles and repeated spaces (HELM)" answer!(quasi_match(Whole));
    "quasi_prefix_exact_match" Answer Proportion true false "begins with a right one, without the same (HELM)" answer!(quasi_match(Prefix));
    "f1" Answer Mean true false "F1 over words, as SQuAD has it; the best of the right answers" answer!(token_f1());
    "rouge1" Answer Mean true false "ROUGE-1 F, 0 to 1, no stemming; the best of the right answers" answer!(rouge(Rouge::Runs(1)));
    "rouge2" Answer Mean true false "ROUGE-2 F" answer!(rouge(Rouge::Runs(2)));
    "rougeL" Answer Mean true false "ROUGE-L F" answer!(rouge(Rouge::Subsequence));
    "rougeLsum" Answer Mean true false "ROUGE-L F over sentences, one a line" answer!(rouge(Rouge::Summary));
    "bleu" Answer Bleu true false "sacrebleu's corpus BLEU, 0 to 100, against all right answers" Value::Answer(|given| ItemValue::Bleu(given.bleu()));
    "chrf" Answer Chrf true false "sacrebleu's corpus chrF, 0 to 100" Value::Answer(|given| ItemValue::Chrf(given.chrf(chrf::Kind::Chrf)));
    "chrf++" Answer Chrf true false "sacrebleu's corpus chrF++, 0 to 100" Value::Answer(|given| ItemValue::Chrf(given.chrf(chrf::Kind::ChrfPlusPlus)));
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

    /// What an item gives to the score. Filter and match rules matter for answers only.
    pub fn item(&self, outcome: &Outcome, filter: &Filter, rules: &MatchRules) -> Option<ItemValue> {
        match (&self.value, outcome) {
            (Value::Outcome(value), _) => value(outcome),
            (Value::Answer(value), Outcome::Answer(item)) => {
                Some(value(&Given { text: &filter.apply(&item.text), golds: &item.golds, rules }))
            }
            (Value::Answer(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{AnswerOutcome, Pick, Step};

    #[test]
    fn answers_under_every_metric() {
        let outcome = Outcome::Answer(AnswerOutcome {
            text: "Well: The old bridge, of 1.0 stones\nQ: and".to_owned(),
            tokens: 9,
            golds: vec!["a tower".to_owned(), "the old bridge".to_owned()],
        });
        let regex = fancy_regex::Regex::new("Well: (.*)").unwrap();
        let steps = vec![Step::Regex { regex, pick: Pick::First, fallback: String::new() }, Step::Lowercase];
        let filter = Filter { name: "f".to_owned(), steps };
        // "the old bridge, of 1.0 stones" against "the old bridge": two of five words without articles, all of two.
        let (of_words, of_runs) = (2.0 * 0.4 / 1.4, 2.0 * (2.0 / 6.0) / (1.0 + 2.0 / 6.0));
        for (name, expected) in [
            ("exact_match", 0.0),
            ("prefix_exact_match", 1.0),
            ("quasi_exact_match", 0.0),
            ("quasi_prefix_exact_match", 1.0),
            ("f1", of_words),
            ("rouge1", 2.0 * (3.0 / 7.0) / (1.0 + 3.0 / 7.0)),
            ("rouge2", of_runs),
            ("rougeL", 0.6),
            ("rougeLsum", 0.6),
        ] {
            let metric = Metric::find(OutcomeKind::Answer, name).unwrap();
            let value = metric.item(&outcome, &filter, &MatchRules::default()).unwrap().own(metric);
            assert!((value - expected).abs() < 1e-12, "{name}: {value}");
        }
        let bleu = Metric::find(OutcomeKind::Answer, "bleu").unwrap();
        let value = bleu.item(&outcome, &filter, &MatchRules::default()).unwrap();
        assert!(matches!(value, ItemValue::Bleu(counts) if counts.matched == [3, 2, 1, 0] && counts.reference == 3));
        let cloze = Metric::find(OutcomeKind::Cloze, "acc").unwrap();
        assert_eq!(cloze.item(&outcome, &filter, &MatchRules::default()), None);
    }
}
