//! `configs` of the result file: what the harness keeps of a task's definition, as far as a record has it.

use super::arguments::generation;
use super::names::ExportedMetric;
use super::python::Python;
use super::rebuild::Rebuilt;
use super::scores::TaskScores;
use crate::metric::{Filter, MatchRules, OutcomeKind, Pick, Step};
use crate::store::TaskRecord;

/// The configuration of one task, with the metrics that its samples have.
pub(super) fn config(task: &TaskScores<'_>, rebuilt: Option<&Rebuilt>) -> Python {
    let record = task.record;
    let mut entries: Vec<(&str, Python)> = vec![("task", task.name.into())];
    if let Some(file) = record.data.first() {
        entries.push(("dataset_path", file.path.as_str().into()));
    }
    if let Some(delimiter) = &record.delimiter {
        entries.push(("target_delimiter", delimiter.into()));
    }
    if let Some(rebuilt) = rebuilt {
        entries.push(("fewshot_delimiter", rebuilt.task.shot_delimiter.as_str().into()));
    }
    entries.push(("num_fewshot", Python::count(record.shots)));
    entries.push(("metric_list", metric_list(record, &task.metrics)));
    entries.push(("output_type", output_type(record.kind).into()));
    if let Some(writing) = &record.writing {
        entries.push(("generation_kwargs", generation(writing)));
    }
    entries.push(("repeats", Python::Int(1)));
    if !matches!(&record.filters[..], [filter] if filter.steps.is_empty()) {
        entries.push(("filter_list", Python::List(record.filters.iter().map(filter_config).collect())));
    }
    entries.push(("metadata", metadata(record)));
    Python::dict(entries)
}

fn output_type(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Choices => "multiple_choice",
        OutcomeKind::Cloze => "loglikelihood",
        OutcomeKind::Rolling => "loglikelihood_rolling",
        OutcomeKind::Answer => "generate_until",
    }
}

fn metric_list(record: &TaskRecord, metrics: &[&ExportedMetric]) -> Python {
    let one = |exported: &&ExportedMetric| {
        let mut entries = vec![
            ("metric", exported.name.as_str().into()),
            ("aggregation", exported.aggregation().into()),
            ("higher_is_better", Python::Bool(exported.metric.higher_is_better)),
        ];
        if record.kind == OutcomeKind::Answer {
            entries.extend(rules(&record.rules));
        }
        Python::dict(entries)
    };
    Python::List(metrics.iter().map(one).collect())
}

fn rules(rules: &MatchRules) -> Vec<(&'static str, Python)> {
    let mut entries = vec![
        ("ignore_case", Python::Bool(rules.ignore_case)),
        ("ignore_punctuation", Python::Bool(rules.ignore_punctuation)),
        ("ignore_numbers", Python::Bool(rules.ignore_numbers)),
    ];
    if !rules.delete.is_empty() {
        entries.push(("regexes_to_ignore", Python::list(rules.delete.iter().map(fancy_regex::Regex::as_str))));
    }
    entries
}

/// A pipeline of the harness ends with the one answer that is compared.
fn filter_config(filter: &Filter) -> Python {
    let last = (!matches!(filter.steps.last(), Some(Step::TakeFirst))).then_some(&Step::TakeFirst);
    let steps = filter.steps.iter().chain(last).map(step);
    Python::dict([("name", filter.name.as_str().into()), ("filter", Python::List(steps.collect()))])
}

fn step(step: &Step) -> Python {
    let plain = |function: &str| Python::dict([("function", function.into())]);
    match step {
        Step::Regex { regex, pick, fallback } => Python::dict([
            ("function", "regex".into()),
            ("regex_pattern", regex.as_str().into()),
            ("group_select", Python::Int(if *pick == Pick::First { 0 } else { -1 })),
            ("fallback", fallback.into()),
        ]),
        Step::Lowercase => plain("lowercase"),
        Step::Uppercase => plain("uppercase"),
        Step::Strip => plain("remove_whitespace"),
        Step::TakeFirst => plain("take_first"),
    }
}

/// The harness lets a task keep what it likes here; ours keeps the rules and the data that it was scored by.
fn metadata(record: &TaskRecord) -> Python {
    let file = |file: &crate::store::DataFile| {
        Python::dict([("path", file.path.as_str().into()), ("fingerprint", file.fingerprint.as_str().into())])
    };
    let mut entries = vec![
        ("version", version(&record.version)),
        ("profile", record.profile.as_str().into()),
        ("seed", Python::Int(record.seed.into())),
        ("data", Python::List(record.data.iter().map(file).collect())),
    ];
    if let Some(deviation) = &record.deviation {
        entries.push(("deviation", deviation.into()));
    }
    Python::dict(entries)
}

/// A version is a number there, where it is one.
pub(super) fn version(text: &str) -> Python {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(number), _) => Python::Int(number.into()),
        (_, Ok(number)) if number.is_finite() => Python::Float(number),
        _ => text.into(),
    }
}
