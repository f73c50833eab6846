//! How answers are written and compared: `generation_kwargs`, `filter_list`, `metric_list`, `repeats`.

use fancy_regex::Regex;

use super::question::Output;
use super::reader::Reader;
use super::toml_file::Toml;
use super::yaml::{Node, Value};
use crate::metric::{Metric, OutcomeKind};

/// Metrics of written answers whose names the harness gives another number, or none.
const OTHER_THERE: [&str; 8] = [
    "f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "prefix_exact_match",
    "quasi_exact_match",
    "quasi_prefix_exact_match",
];

/// Longest answer when a task does not say.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Names of the longest answer; the first that is there counts.
const MAX_TOKENS: &[&str] = &["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"];

impl Output {
    fn outcome(self) -> OutcomeKind {
        match self {
            Self::MultipleChoice => OutcomeKind::Choices,
            Self::Loglikelihood => OutcomeKind::Cloze,
            Self::Rolling => OutcomeKind::Rolling,
            Self::Generate => OutcomeKind::Answer,
        }
    }

    /// What the harness computes when a task does not say.
    fn default_metrics(self) -> &'static [&'static str] {
        match self {
            Self::MultipleChoice => &["acc", "acc_norm"],
            Self::Loglikelihood => &["perplexity", "acc"],
            Self::Rolling => &["word_perplexity", "byte_perplexity", "bits_per_byte"],
            Self::Generate => &["exact_match"],
        }
    }
}

/// Puts everything between a model's answer and a score.
pub(super) fn put(reader: &mut Reader<'_>, output: Output) {
    metrics(reader, output);
    if output == Output::Generate {
        writing(reader);
    } else if let Some(node) = reader.config.get("generation_kwargs") {
        reader.note(node, "`generation_kwargs` is left out", "nothing is written in such a task");
    }
    filters(reader, output);
    repeats(reader);
    match reader.config.get("unsafe_code").map(|node| (&node.value, node)) {
        None | Some((Value::Flag(false), _)) => {}
        Some((_, node)) => {
            let help = "the answers are programs that would be run; nothing is run here";
            reader.refuse(node, "`unsafe_code`: expected false", help);
        }
    }
}

// ------------------------------------------------------------------------------------------------ metrics

fn metrics(reader: &mut Reader<'_>, output: Output) {
    let Some(list) = reader.config.get("metric_list") else {
        let names = output.default_metrics().iter().map(|name| (*name).to_owned()).collect();
        reader.task.put("metrics", Toml::Texts(names));
        return;
    };
    let mut found: Vec<String> = Vec::new();
    let mut lost: Vec<String> = Vec::new();
    let entries = list.items();
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.get("metric").and_then(Node::text);
        if name.is_some() && entries[index + 1..].iter().any(|later| later.get("metric").and_then(Node::text) == name) {
            reader.note(entry, "`metric_list`: the metric is there again; the last one counts", "take one of them out");
            continue;
        }
        match metric(reader, output, entry) {
            Ok(name) => found.push(name),
            Err(name) => lost.push(name),
        }
    }
    if found.is_empty() && output == Output::Generate {
        let names = lost.join(", ");
        let help =
            "exact_match is the metric of written answers here; a run's record keeps the answers for scoring elsewhere";
        reader.refuse(list, format!("`metric_list`: none of its metrics is here: {names}"), help);
        return;
    }
    if found.is_empty() {
        found = output.default_metrics().iter().map(|name| (*name).to_owned()).collect();
        let help = "a run's record keeps what the metrics need, for computing them elsewhere";
        reader.note(list, format!("`metric_list`: {} stand in its place", found.join(", ")), help);
    }
    reader.task.put("metrics", Toml::Texts(found));
}

/// The name of a metric that is here, or of one that is not, which is noted.
fn metric(reader: &mut Reader<'_>, output: Output, entry: &Node) -> Result<String, String> {
    let Some(name_at) = entry.get("metric") else {
        reader.note(entry, "`metric_list`: an entry without `metric` is left out", "give it a metric");
        return Err("(no name)".to_owned());
    };
    let name = match &name_at.value {
        Value::Text(name) => name.clone(),
        Value::Function(name) => {
            let message = format!("`metric_list`: the Python function `{name}` is left out, since nothing is run here");
            reader.note(name_at, message, "choose among the metrics that are here");
            return Err(name.clone());
        }
        _ => {
            reader.note(name_at, "`metric_list`: an entry whose metric is no text is left out", "name a metric");
            return Err(name_at.type_name().to_owned());
        }
    };
    let other = |metric: &Metric| metric.kind == OutcomeKind::Answer && OTHER_THERE.contains(&metric.name);
    let Some(metric) = Metric::find(output.outcome(), &name).filter(|metric| !other(metric)) else {
        let shared = Metric::of(output.outcome()).filter(|metric| !other(metric));
        let known: Vec<&str> = shared.map(|metric| metric.name).collect();
        let message = format!("`metric_list`: the metric {name:?} is left out");
        reader.note(name_at, message, format!("of such tasks there are {}", known.join(", ")));
        return Err(name);
    };
    if let Some(at) = entry.get("aggregation")
        && !aggregation_agrees(at, &name)
    {
        let shown = at.text().unwrap_or("a Python function");
        let message = format!("`metric_list`: the aggregation {shown} of {name:?} is left out");
        reader.note(at, message, "the metric is aggregated as it always is here");
    }
    if let Some(at) = entry.get("higher_is_better")
        && !matches!(&at.value, Value::Flag(flag) if *flag == metric.higher_is_better)
    {
        let better = if metric.higher_is_better { "higher" } else { "lower" };
        reader.note(at, format!("`metric_list`: here {better} is better for {name:?}"), "a metric knows its direction");
    }
    // The harness looks at settings of metrics of written answers alone.
    if output == Output::Generate && name == "exact_match" {
        match_rules(reader, entry);
    } else if output == Output::Generate {
        for other in entry.entries().iter().filter(|other| !OWN_KEYS.contains(&other.key.as_str())) {
            let message = format!("`metric_list`: `{}` of {name:?} is left out", other.key);
            reader.notes.push(other.key_place.problem(message).help("the metric has its usual settings here"));
        }
    }
    Ok(name)
}

/// Keys of an entry that are no settings of the metric.
const OWN_KEYS: &[&str] = &["metric", "aggregation", "higher_is_better", "hf_evaluate"];

/// Each metric here has one aggregation: the harness's usual one.
fn aggregation_agrees(at: &Node, metric: &str) -> bool {
    let usual: &[&str] = match metric {
        "perplexity" => &["perplexity"],
        "word_perplexity" | "byte_perplexity" => &["weighted_perplexity"],
        "bits_per_byte" => &["bits_per_byte"],
        "brier_score" => &["brier_score", "mean"],
        _ => &["mean", "nanmean"],
    };
    at.text().is_some_and(|name| usual.contains(&name) || name == metric)
}

/// What exact_match ignores.
fn match_rules(reader: &mut Reader<'_>, entry: &Node) {
    let mut rules = Vec::new();
    for (key, at) in entry.entries().iter().map(|entry| (entry.key.as_str(), entry.value.as_ref())) {
        match (key, &at.value) {
            ("ignore_case", Value::Flag(true)) => rules.push(("ignore_case", Toml::Flag(true))),
            ("ignore_punctuation", Value::Flag(true)) => rules.push(("ignore_punctuation", Toml::Flag(true))),
            ("ignore_numbers", Value::Flag(true)) => rules.push(("ignore_numbers", Toml::Flag(true))),
            ("regexes_to_ignore", _) => {
                let patterns: Vec<String> =
                    at.items().iter().filter_map(|item| pattern(reader, item, "regexes_to_ignore")).collect();
                rules.push(("delete", Toml::Texts(patterns)));
            }
            (_, Value::Null | Value::Flag(false)) => {}
            _ if OWN_KEYS.contains(&key) => {}
            _ => {
                let message = format!("`metric_list`: `{key}` of \"exact_match\" is left out");
                reader.note(
                    at,
                    message,
                    "exact_match knows ignore_case, ignore_punctuation, ignore_numbers and regexes_to_ignore",
                );
            }
        }
    }
    if !rules.is_empty() {
        reader.task.put("match", Toml::Table(rules));
    }
}

/// A regular expression that works here, or a problem.
fn pattern(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<String> {
    let Some(text) = node.text() else {
        reader.refuse(node, format!("`{key}`: expected a text, found {}", node.type_name()), "put it in quotes");
        return None;
    };
    if let Err(error) = Regex::new(text) {
        let help = "write it without what only Python's `re` has";
        reader.refuse(node, format!("`{key}`: regular expression: {error}"), help);
        return None;
    }
    Some(text.to_owned())
}

// ------------------------------------------------------------------------------------------------ writing

fn writing(reader: &mut Reader<'_>) {
    let shot_delimiter = reader.text("fewshot_delimiter").unwrap_or("\n\n").to_owned();
    let kwargs = reader.config.get("generation_kwargs");
    let mut stop = vec![shot_delimiter];
    if let Some(until) = kwargs.and_then(|kwargs| kwargs.get("until")) {
        stop = Vec::new();
        for item in until.items() {
            match item.text() {
                Some("") => {
                    reader.note(item, "`until`: an empty text is left out", "it would end every answer at once");
                }
                Some(text) => stop.push(text.to_owned()),
                None => {
                    let message = format!("`until`: expected texts, found {}", item.type_name());
                    reader.refuse(item, message, "put it in quotes");
                }
            }
        }
    }
    reader.task.put("stop", Toml::Texts(stop));
    let Some(kwargs) = kwargs else { return };
    if let Some(at) = MAX_TOKENS.iter().find_map(|name| kwargs.get(name))
        && let Some(most) = reader.count_of(at, "max_gen_toks")
        && most != DEFAULT_MAX_TOKENS
    {
        reader.task.put("max_tokens", Toml::Count(most));
    }
    sampling(reader, kwargs);
    let known = ["until", "do_sample", "temperature", "top_k", "top_p"];
    for entry in kwargs.entries() {
        let name = entry.key.as_str();
        let one_beam = name == "num_beams" && matches!(entry.value.value, Value::Integer(1));
        if known.contains(&name) || MAX_TOKENS.contains(&name) || one_beam {
            continue;
        }
        let message = format!("`generation_kwargs`: `{name}` is left out");
        reader.notes.push(
            entry.key_place.problem(message).help("answers are greedy or drawn with temperature, top_k and top_p"),
        );
    }
}

fn number(node: Option<&Node>) -> Option<f64> {
    match node?.value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}

/// `do_sample: false` is greedy whatever the temperature; without `do_sample` a temperature above 0 samples.
fn sampling(reader: &mut Reader<'_>, kwargs: &Node) {
    let temperature = number(kwargs.get("temperature")).unwrap_or(0.0);
    let asked = match kwargs.get("do_sample").map(|at| (&at.value, at)) {
        Some((Value::Flag(flag), at)) => Some((*flag, at)),
        Some((_, at)) => {
            reader.refuse(at, "`do_sample`: expected true or false", "write true or false");
            return;
        }
        None => None,
    };
    match asked {
        Some((false, _)) => return,
        Some((true, at)) if temperature <= 0.0 => {
            let help = "give a `temperature` above 0 to draw answers";
            reader.note(at, "`do_sample`: without a temperature above 0 answers are greedy", help);
            return;
        }
        None if temperature <= 0.0 => return,
        _ => {}
    }
    let mut table = vec![("temperature", Toml::Number(temperature))];
    if let Some(at) = kwargs.get("top_k") {
        if let Some(top_k) = reader.count_of(at, "top_k") {
            table.push(("top_k", Toml::Count(top_k)));
        }
    } else if let Some(at) = kwargs.get("temperature") {
        let help = "add `top_k = 50` to `sampling` for what Hugging Face's `generate` does when nothing is said";
        reader.note(at, "`temperature`: answers are drawn from all tokens, by draws of our own", help);
    }
    if let Some(top_p) = number(kwargs.get("top_p")).filter(|top_p| *top_p < 1.0) {
        table.push(("top_p", Toml::Number(top_p)));
    }
    reader.task.put("sampling", Toml::Table(table));
}

// ------------------------------------------------------------------------------------------------ filters

fn filters(reader: &mut Reader<'_>, output: Output) {
    let Some(list) = reader.config.get("filter_list") else { return };
    if output != Output::Generate {
        reader.note(list, "`filter_list` is left out", "nothing is written in such a task");
        return;
    }
    let mut kept: Vec<String> = Vec::new();
    for filter in list.items() {
        let name = filter.get("name").and_then(Node::text).unwrap_or("").to_owned();
        let steps = filter.get("filter").map(Node::items).unwrap_or_default();
        match steps_of(reader, &steps) {
            Ok(_) if name.is_empty() => {
                reader.refuse(filter, "`filter_list`: expected filters with a `name`, found one without", "name it");
            }
            Ok(_) if kept.contains(&name) => {
                let message = format!("`filter_list`: expected filters of different names, found {name:?} twice");
                reader.refuse(filter, message, "give one of them another name");
            }
            Ok(steps) => {
                kept.push(name.clone());
                // A filter that changes nothing and has the name of none is what a task without filters has.
                if !(name == "none" && steps.len() <= 1 && list.items().len() == 1 && is_take_first(&steps)) {
                    reader.task.put_filter(name, Toml::Tables(steps));
                }
            }
            Err((at, reason)) => {
                let message = format!("`filter_list`: the filter {name:?} is left out: {reason}");
                reader.note(at, message, "there are regex, lowercase, uppercase, remove_whitespace and take_first");
            }
        }
    }
    if kept.is_empty() {
        reader.refuse(list, "`filter_list`: none of its filters is here", "write one with regular expressions");
    }
}

type Step = Vec<(&'static str, Toml)>;

fn is_take_first(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.as_slice() == [("op", Toml::Text("take_first".to_owned()))])
}

/// The steps of one filter, or the first that is not here.
fn steps_of<'a>(reader: &mut Reader<'_>, steps: &[&'a Node]) -> Result<Vec<Step>, (&'a Node, String)> {
    let mut found = Vec::new();
    let mut taken = false;
    for step in steps {
        let function = step.get("function").unwrap_or(step);
        let name = match &function.value {
            Value::Text(name) => name.as_str(),
            Value::Function(name) => return Err((function, format!("it needs the Python function `{name}`"))),
            _ => return Err((function, "a step without `function`".to_owned())),
        };
        if taken && name != "take_first" {
            let reason = format!("`{name}` comes after `take_first`, where the harness gives it single characters");
            return Err((function, reason));
        }
        let op = match name {
            "regex" => {
                found.push(regex(reader, step)?);
                continue;
            }
            "lowercase" => "lowercase",
            "uppercase" => "uppercase",
            "remove_whitespace" => "strip",
            "take_first" if taken => continue,
            "take_first" => {
                taken = true;
                "take_first"
            }
            _ => return Err((function, format!("its step {name:?} has no counterpart"))),
        };
        found.push(vec![("op", Toml::Text(op.to_owned()))]);
    }
    Ok(found)
}

/// The pattern that the harness takes when a regex step has none.
const DEFAULT_PATTERN: &str = r"#### (\-?[0-9\.\,]+)";

fn regex<'a>(reader: &mut Reader<'_>, step: &'a Node) -> Result<Step, (&'a Node, String)> {
    let mut found = vec![("op", Toml::Text("regex".to_owned()))];
    let pattern = match step.get("regex_pattern") {
        Some(at) => {
            pattern(reader, at, "regex_pattern").ok_or((at, "its regular expression is not here".to_owned()))?
        }
        None => DEFAULT_PATTERN.to_owned(),
    };
    found.push(("pattern", Toml::Text(pattern)));
    match step.get("group_select").map(|at| (at, &at.value)) {
        None | Some((_, Value::Integer(0))) => {}
        Some((_, Value::Integer(-1))) => found.push(("pick", Toml::Text("last".to_owned()))),
        Some((at, _)) => {
            return Err((at, "`group_select`: there are the first match (0) and the last (-1)".to_owned()));
        }
    }
    if let Some(at) = step.get("fallback") {
        let fallback = at.text().ok_or((at, "`fallback`: expected a text".to_owned()))?;
        found.push(("fallback", Toml::Text(fallback.to_owned())));
    }
    Ok(found)
}

fn repeats(reader: &mut Reader<'_>) {
    let Some(node) = reader.config.get("repeats") else { return };
    if reader.count("repeats").is_some_and(|repeats| repeats > 1) {
        reader.note(
            node,
            "`repeats`: each item is answered once",
            "the harness takes the first answer unless a filter votes",
        );
    }
}
