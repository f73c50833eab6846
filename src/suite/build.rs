//! How a merged table becomes a task, or one for each of its subsets and variants.

use fancy_regex::Regex;

use super::axes::Axes;
use super::document::{Located, Node, Table};
use super::expression::{Expression, Template};
use super::profile::{PROFILES, Profile, ShotRule};
use super::protocol::Protocol;
use super::task::{Data, Gold, Hub, Kind, Sampling, ShotOrder, Source, Task, Writing};
use crate::diag::Diagnostic;
use crate::error::Error;
use crate::hub::{Address, is_address};
use crate::metric::{Filter, MatchRules, Metric, OutcomeKind, Pick, Step};
use crate::util::suggest::nearest;

/// Longest answer when a task says nothing, as in lm-evaluation-harness.
const DEFAULT_MAX_TOKENS: usize = 256;

/// Settings of a suite that its tasks inherit.
pub(super) struct Defaults<'a> {
    pub table: Option<&'a Table>,
    pub seed: u64,
}

/// Reads parts of one table and collects what is wrong with them.
struct Reader<'a> {
    table: &'a Table,
    problems: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn parsed<T>(&mut self, at: &Located, parse: impl Fn(&str) -> Result<T, Error>) -> Option<T> {
        let Node::Text(text) = &at.node else { return None };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.problems.extend(error.into_diagnostics().into_iter().map(|d| at.problem(d.message)));
                None
            }
        }
    }

    fn template(&mut self, key: &str) -> Option<Template> {
        let at = self.table.get(key)?.clone();
        self.parsed(&at, Template::new)
    }

    fn expression(&mut self, key: &str) -> Option<Expression> {
        let at = self.table.get(key)?.clone();
        self.parsed(&at, Expression::new)
    }

    fn regex(&mut self, at: &Located) -> Option<Regex> {
        self.parsed(at, |text| Regex::new(text).map_err(|e| Error::bad(format!("regular expression: {e}"))))
    }

    fn expressions(&mut self, table: Option<&Table>) -> Vec<(String, Expression)> {
        let entries = table.map_or(&[][..], |table| &table.entries);
        entries
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), self.parsed(&entry.value, Expression::new)?)))
            .collect()
    }

    /// Reports keys that the kind needs and does not find.
    fn need(&mut self, kind: &str, keys: &[&str]) {
        for key in keys.iter().filter(|key| self.table.get(key).is_none()) {
            self.problems
                .push(self.table.problem(format!("expected the key `{key}`, which a {kind} task needs, found none")));
        }
    }
}

/// Turns a checked table into tasks: one, or one for each subset and variant.
pub(super) fn build(table: &Table, defaults: &Defaults<'_>, problems: &mut Vec<Diagnostic>) -> Vec<Task> {
    let found_before = problems.len();
    let mut reader = Reader { table, problems };
    reader.need("every", &["name", "kind", "data"]);
    let kind = kind(&mut reader);
    let data = table.table("data").and_then(|data| data_of(data, &mut reader));
    let profile = profile(&mut reader, defaults);
    let metrics = outcome(table).map_or_else(Vec::new, |kind| metrics(&mut reader, kind));
    let filters = filters(&mut reader);
    let rules = rules(&mut reader);
    let description = reader.template("description");
    let answer_prefix = reader.template("answer_prefix");
    let shot_answer = reader.template("shot_answer");
    let slices = reader.expressions(table.table("slices"));
    if let (Some(at), ShotRule::PythonPerItem | ShotRule::FixedList) = (table.get("shot_rule"), profile.shots) {
        reader.problems.push(at.problem(format!("expected no `shot_rule`: the profile {} has its own", profile.id)));
    }
    let subsets = table.texts("subsets");
    let subset_groups = table.table("subset_groups");
    if let Some(groups) = subset_groups {
        for entry in groups.entries.iter().filter(|entry| !subsets.contains(&entry.key)) {
            reader.problems.push(entry.problem(format!("expected one of the subsets, found `{}`", entry.key)));
        }
    }
    let setting = |key: &str| table.get(key).or_else(|| defaults.table?.get(key));
    let count = |key: &str| match setting(key)?.node {
        Node::Integer(count) => usize::try_from(count).ok(),
        _ => None,
    };
    let flag = |key: &str| matches!(setting(key).map(|at| &at.node), Some(Node::Flag(true)));
    let text = |key: &str, default: &str| table.text(key).unwrap_or(default).to_owned();
    let axes = kind.as_ref().map(|kind| Axes::read(table, kind, setting("system"), reader.problems));
    let (Some(kind), Some(data), Some(axes), true) = (kind, data, axes, problems.len() == found_before) else {
        return Vec::new();
    };
    let task = Task {
        name: text("name", ""),
        version: text("version", "1"),
        about: text("about", ""),
        kind,
        data,
        description,
        prefix: String::new(),
        system: String::new(),
        chat: flag("chat"),
        answer_prefix,
        shot_answer,
        unconditional: text("unconditional", profile.unconditional),
        delimiter: text("delimiter", " "),
        shot_delimiter: text("shot_delimiter", "\n\n"),
        shots: if outcome(table) == Some(OutcomeKind::Rolling) { 0 } else { count("shots").unwrap_or(0) },
        shot_order: if table.text("shot_order") == Some("first") { ShotOrder::First } else { ShotOrder::Random },
        shots_per_item: table.text("shot_rule") == Some("per-item"),
        shots_may_repeat_item: table.flag("shots_may_repeat_item"),
        metrics,
        filters,
        rules,
        profile,
        slices,
        subset: None,
        variant: String::new(),
        groups: Vec::new(),
        limit: count("limit"),
        seed: table.count("seed").map_or(defaults.seed, |seed| seed as u64),
    };
    if subsets.is_empty() {
        return axes.expand(&task);
    }
    let one = |subset: String| {
        let inner = subset_groups.and_then(|groups| groups.text(&subset)).map(|group| format!("{}_{group}", task.name));
        Task {
            name: format!("{}_{subset}", task.name),
            groups: inner.into_iter().chain([task.name.clone()]).collect(),
            subset: Some(subset),
            ..task.clone()
        }
    };
    subsets.into_iter().flat_map(|subset| axes.expand(&one(subset))).collect()
}

/// Reads all parts of the kind before it gives up on any, so that every mistake is reported.
fn kind(reader: &mut Reader<'_>) -> Option<Kind> {
    let table = reader.table;
    match table.text("kind")? {
        "multiple_choice" if table.get("contexts").is_some() => {
            reader.need("multiple_choice", &["continuation"]);
            let (contexts, continuation) = (reader.expression("contexts"), reader.template("continuation"));
            let gold = gold(reader);
            Some(Kind::Contexts { contexts: contexts?, continuation: continuation?, gold: gold? })
        }
        "multiple_choice" => {
            reader.need("multiple_choice", &["prompt", "choices"]);
            let (prompt, choices) = (reader.template("prompt"), reader.expression("choices"));
            let gold = gold(reader);
            let protocol = Protocol::Continuation;
            Some(Kind::MultipleChoice { prompt: prompt?, choices: choices?, gold: gold?, protocol })
        }
        "cloze" => {
            reader.need("cloze", &["prompt", "target"]);
            let (prompt, target) = (reader.template("prompt"), reader.template("target"));
            Some(Kind::Cloze { prompt: prompt?, target: target? })
        }
        "perplexity" => {
            reader.need("perplexity", &["text"]);
            if let Some(at) = table.get("shots").filter(|_| table.count("shots") != Some(0)) {
                reader.problems.push(at.problem("`shots`: expected none, since a perplexity task has no shots"));
            }
            let (text, original) = (reader.template("text"), reader.template("original"));
            Some(Kind::Perplexity { text: text?, original })
        }
        "generation" => {
            reader.need("generation", &["prompt", "target"]);
            let (prompt, target) = (reader.template("prompt"), reader.expression("target"));
            let writing = Writing {
                stop: table.texts("stop"),
                max_tokens: table.count("max_tokens").unwrap_or(DEFAULT_MAX_TOKENS),
                sampling: table.table("sampling").and_then(sampling),
            };
            Some(Kind::Generation { prompt: prompt?, target: target?, writing })
        }
        _ => None,
    }
}

/// None at temperature 0, where the likeliest token is all that is left.
pub(super) fn sampling(table: &Table) -> Option<Sampling> {
    let temperature = table.number("temperature").filter(|temperature| *temperature > 0.0)?;
    let (top_k, top_p) = (table.count("top_k").unwrap_or(0), table.number("top_p").unwrap_or(1.0));
    Some(Sampling { temperature, top_k, top_p })
}

/// What a task of the kind that the table names scores.
fn outcome(table: &Table) -> Option<OutcomeKind> {
    match table.text("kind")? {
        "multiple_choice" => Some(OutcomeKind::Choices),
        "cloze" => Some(OutcomeKind::Cloze),
        "perplexity" => Some(OutcomeKind::Rolling),
        "generation" => Some(OutcomeKind::Answer),
        _ => None,
    }
}

fn gold(reader: &mut Reader<'_>) -> Option<Gold> {
    match (reader.table.get("gold"), reader.table.get("labels")) {
        (Some(_), None) => Some(Gold::Index(reader.expression("gold")?)),
        (None, Some(_)) => Some(Gold::Labels(reader.expression("labels")?)),
        (Some(_), Some(at)) => {
            reader.problems.push(at.problem("expected one of `gold` and `labels`, found both"));
            None
        }
        (None, None) => {
            reader
                .problems
                .push(reader.table.problem("expected the key `gold`, which a multiple_choice task needs, found none"));
            None
        }
    }
}

fn data_of(table: &Table, reader: &mut Reader<'_>) -> Option<Data> {
    let public = source(table, reader);
    let local = table.table("local").map(|local| source(local, reader));
    if table.text("file").is_none() && table.text("hub").is_none() {
        reader.problems.push(
            table
                .problem("expected `file` or `hub`, found neither")
                .help("name a .jsonl, .csv or .tsv file beside this one"),
        );
        return None;
    }
    if local.as_ref().is_some_and(|local| local.file.is_none()) {
        reader.problems.push(table.problem("`local`: expected the key `file`, found none"));
    }
    let hub = table.text("hub").map(|name| Hub {
        name: name.to_owned(),
        config: table.text("config").map(str::to_owned),
        split: table.text("split").unwrap_or("test").to_owned(),
        shots_split: table.text("shots_split").map(str::to_owned),
        verified: table.flag("verified").unwrap_or(false),
    });
    Some(Data { hub, public, local })
}

fn source(table: &Table, reader: &mut Reader<'_>) -> Source {
    for key in ["file", "shots_file"] {
        let wrong = table.text(key).filter(|file| is_address(file)).and_then(|file| file.parse::<Address>().err());
        if let (Some(error), Some(at)) = (wrong, table.get(key)) {
            reader.problems.push(at.problem(format!("`{key}`: {error}")));
        }
    }
    let text = |key: &str| table.text(key).map(str::to_owned);
    Source {
        base: table.source.path.parent().unwrap_or_else(|| std::path::Path::new("")).to_path_buf(),
        file: text("file"),
        shots_file: text("shots_file"),
        blake3: text("blake3"),
        shots_blake3: text("shots_blake3"),
        record_start: table.get("record_start").and_then(|at| reader.regex(at)),
        texts: text_map(table.table("texts")),
        fields: reader.expressions(table.table("fields")),
        deviation: text("deviation"),
    }
}

fn text_map(table: Option<&Table>) -> Vec<(String, String)> {
    let entries = table.map_or(&[][..], |table| &table.entries);
    let text = |at: &Located| match &at.node {
        Node::Text(text) => Some(text.clone()),
        _ => None,
    };
    entries.iter().filter_map(|entry| Some((entry.key.clone(), text(&entry.value)?))).collect()
}

fn profile(reader: &mut Reader<'_>, defaults: &Defaults<'_>) -> &'static Profile {
    let Some(at) = reader.table.get("profile").or_else(|| defaults.table?.get("profile")) else {
        return Profile::default_profile();
    };
    let Node::Text(id) = &at.node else { return Profile::default_profile() };
    Profile::find(id).unwrap_or_else(|| {
        let known: Vec<&str> = PROFILES.iter().map(|profile| profile.id).collect();
        reader.problems.push(at.problem(format!("`profile`: expected one of {}, found {id:?}", known.join(", "))));
        Profile::default_profile()
    })
}

fn metrics(reader: &mut Reader<'_>, kind: OutcomeKind) -> Vec<&'static Metric> {
    if reader.table.get("metrics").is_none() {
        return Metric::of(kind).filter(|metric| metric.default).collect();
    }
    let mut found = Vec::new();
    if let Some(at) = reader.table.get("metrics").filter(|at| matches!(&at.node, Node::List(list) if list.is_empty())) {
        reader.problems.push(at.problem("`metrics`: expected at least one, found an empty list"));
    }
    for at in reader.table.list("metrics") {
        let Node::Text(name) = &at.node else { continue };
        if let Some(metric) = Metric::find(kind, name) {
            if found.iter().any(|known: &&Metric| known.name == metric.name) {
                reader.problems.push(at.problem(format!("`metrics`: expected each metric once, found {name:?} twice")));
            }
            found.push(metric);
            continue;
        }
        let names: Vec<&str> = Metric::of(kind).map(|metric| metric.name).collect();
        let problem = at.problem(format!("`metrics`: expected one of {}, found {name:?}", names.join(", ")));
        reader.problems.push(match nearest(name, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None => problem,
        });
    }
    found
}

fn filters(reader: &mut Reader<'_>) -> Vec<Filter> {
    let mut filters = Vec::new();
    for at in reader.table.list("filters") {
        let Node::Table(table) = &at.node else { continue };
        if filters.iter().any(|known: &Filter| Some(known.name.as_str()) == table.text("name")) {
            let message = "`filters`: expected filters of different names, found two of one name";
            reader.problems.push(at.problem(message));
        }
        let step = |step: &Located| match &step.node {
            Node::Table(step) => step_of(step, reader),
            _ => None,
        };
        let steps = table.list("steps").iter().filter_map(step).collect();
        filters.push(Filter { name: table.text("name").unwrap_or("").to_owned(), steps });
    }
    if filters.is_empty() { vec![Filter::none()] } else { filters }
}

fn step_of(table: &Table, reader: &mut Reader<'_>) -> Option<Step> {
    match table.text("op")? {
        "regex" => {
            let Some(at) = table.get("pattern") else {
                reader.problems.push(table.problem("expected the key `pattern`, which a regex step needs, found none"));
                return None;
            };
            let pick = match table.text("pick") {
                None | Some("first") => Pick::First,
                Some("last") => Pick::Last,
                Some(other) => {
                    reader.problems.push(table.problem(format!("`pick`: expected first or last, found {other:?}")));
                    return None;
                }
            };
            let fallback = table.text("fallback").unwrap_or("[invalid]").to_owned();
            Some(Step::Regex { regex: reader.regex(at)?, pick, fallback })
        }
        "lowercase" => Some(Step::Lowercase),
        "uppercase" => Some(Step::Uppercase),
        "strip" => Some(Step::Strip),
        "take_first" => Some(Step::TakeFirst),
        _ => None,
    }
}

fn rules(reader: &mut Reader<'_>) -> MatchRules {
    let Some(table) = reader.table.table("match") else { return MatchRules::default() };
    MatchRules {
        delete: table.list("delete").iter().filter_map(|at| reader.regex(at)).collect(),
        ignore_case: table.flag("ignore_case").unwrap_or(false),
        ignore_punctuation: table.flag("ignore_punctuation").unwrap_or(false),
        ignore_numbers: table.flag("ignore_numbers").unwrap_or(false),
    }
}
