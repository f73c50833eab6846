//! Which metrics can be computed again from the samples: those that give the value that the harness logged, for every
//! item. A task that scores by rules of its own (TruthfulQA's `acc` is a mass) is found out by that and keeps its
//! numbers as they are.

use serde_json::Value;

use super::definition;
use super::line::Logged;
use super::samples::{Item, TaskSamples};
use crate::metric::{Aggregation, Filter, ItemValue, MatchRules, Metric, Outcome, OutcomeKind};

/// These count tokens, of which the samples say nothing.
const NEED_TOKENS: [&str; 2] = ["acc_per_token", "token_perplexity"];
/// Values of both sides are sums of the same numbers in different order.
const TOLERANCE: f64 = 1e-6;

/// What holds for every item of a task.
#[derive(Debug)]
pub(super) struct Recomputable {
    pub metrics: Vec<String>,
    pub filters: Vec<Filter>,
    pub rules: MatchRules,
    /// Logged metrics that have no counterpart here or another value: `acc`, `exact_match,vote`.
    pub kept: Vec<String>,
}

impl Recomputable {
    /// Compares every logged value with ours. `config` is the task's definition, null where there is none.
    pub fn of(samples: &TaskSamples, config: &Value) -> Self {
        let rules = definition::rules(config);
        let mut filters = candidates(samples, config);
        filters.retain(|filter| filters_alike(samples, filter));
        let Comparison { trusted, mut kept, differs } = Comparison::of(samples, &filters, rules.as_ref());
        let under = |filter: &str, name: &str| trusted.iter().any(|(f, n)| f == filter && n == name);
        filters.retain(|filter| trusted.iter().any(|(known, _)| *known == filter.name));
        // Where the logged metrics hold, others follow from the same sums and lengths.
        let more = !trusted.is_empty() && !differs && !config.is_null();
        let wanted = |metric: &&Metric| {
            let logged = trusted.iter().any(|(_, name)| name == metric.name);
            let everywhere = || filters.iter().all(|filter| under(&filter.name, metric.name));
            if logged { everywhere() } else { more && follows(samples, metric) }
        };
        let metrics: Vec<String> =
            Metric::of(samples.kind).filter(wanted).map(|metric| metric.name.to_owned()).collect();
        let lost = trusted.iter().filter(|(_, name)| !metrics.contains(name));
        kept.extend(lost.map(|(filter, name)| key(name, filter)));
        if metrics.is_empty() {
            filters.clear();
        }
        Self { metrics, filters, rules: rules.unwrap_or_default(), kept }
    }
}

/// Logged values beside ours.
struct Comparison {
    /// Filter and metric of what is the same for every item.
    trusted: Vec<(String, String)>,
    kept: Vec<String>,
    /// Whether a metric of ours has another value.
    differs: bool,
}

impl Comparison {
    fn of(samples: &TaskSamples, filters: &[Filter], rules: Option<&MatchRules>) -> Self {
        let mut found = Self { trusted: Vec::new(), kept: Vec::new(), differs: false };
        for filter in &samples.filters {
            for name in logged_names(samples, filter) {
                let metric = Metric::find(samples.kind, &name).filter(|metric| !NEED_TOKENS.contains(&metric.name));
                let used = filters.iter().find(|known| known.name == *filter);
                let same = metric.zip(used).zip(rules);
                if same.is_some_and(|((metric, used), rules)| agree(samples, metric, used, rules)) {
                    found.trusted.push((filter.clone(), name));
                } else {
                    found.differs |= metric.is_some();
                    found.kept.push(key(&name, filter));
                }
            }
        }
        found
    }
}

/// `acc`, or `exact_match,strict-match` under a filter.
pub(super) fn key(metric: &str, filter: &str) -> String {
    if filter == "none" { metric.to_owned() } else { format!("{metric},{filter}") }
}

pub(super) fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
}

/// Filters that might be those of the samples. Log-likelihoods pass through any of them.
fn candidates(samples: &TaskSamples, config: &Value) -> Vec<Filter> {
    if samples.kind != OutcomeKind::Answer {
        return samples.filters.iter().map(|name| Filter { name: name.clone(), steps: Vec::new() }).collect();
    }
    definition::filters(config).into_iter().filter(|filter| samples.filters.contains(&filter.name)).collect()
}

/// Whether a filter leaves of every answer what it left there.
fn filters_alike(samples: &TaskSamples, filter: &Filter) -> bool {
    samples.items.iter().all(|item| match &item.outcome {
        Outcome::Answer(answer) => {
            item.filtered.get(&filter.name).is_none_or(|left| *left == filter.apply(&answer.text))
        }
        _ => true,
    })
}

/// Names that are logged for every item under a filter.
fn logged_names(samples: &TaskSamples, filter: &str) -> Vec<String> {
    let of = |item: &Item| -> Vec<String> {
        item.logged.keys().filter(|(known, _)| known == filter).map(|(_, name)| name.clone()).collect()
    };
    let mut names: Vec<String> = samples.items.first().map(of).unwrap_or_default();
    names.retain(|name| samples.items.iter().all(|item| item.logged.contains_key(&(filter.to_owned(), name.clone()))));
    names
}

fn agree(samples: &TaskSamples, metric: &Metric, filter: &Filter, rules: &MatchRules) -> bool {
    let place = (filter.name.clone(), metric.name.to_owned());
    samples.items.iter().all(|item| match (item.logged.get(&place), metric.item(&item.outcome, filter, rules)) {
        (Some(Logged::Number(theirs)), Some(ItemValue::Weighted(ours, _))) => near(*theirs, ours),
        // Ours is the negative sum in the metric's unit.
        (Some(Logged::Pair(sum, weight)), Some(ItemValue::Weighted(ours, own_weight))) => {
            let unit = if metric.aggregation == Aggregation::Ratio { std::f64::consts::LN_2 } else { 1.0 };
            near(-sum / unit, ours) && *weight == own_weight
        }
        _ => false,
    })
}

/// Whether a metric that was not logged follows from what was.
fn follows(samples: &TaskSamples, metric: &Metric) -> bool {
    let (filter, rules) = (Filter::none(), MatchRules::default());
    samples.kind != OutcomeKind::Answer
        && samples.filters == ["none"]
        && metric.default
        && !NEED_TOKENS.contains(&metric.name)
        && samples.items.iter().all(|item| item.complete && metric.item(&item.outcome, &filter, &rules).is_some())
}
