//! From rows to items: columns are mapped, shots chosen, prompts rendered. All problems are found before any model
//! runs.

use serde_json::{Map, Value};

use super::expression::{Expression, Jinja};
use super::profile::{LimitRule, ShotRule};
use super::prompt::{Prompt, Turn, join};
use super::protocol::{List, Protocol, letters, listing, with_listing};
use super::shots::choose_shots;
use super::task::{Gold, Kind, Source, Task};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::python;
use crate::util::python_random::PythonRandom;

/// After this many bad items the rest is not looked at.
const MAX_PROBLEMS: usize = 20;

/// One question to a model and what is needed to score the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Task, row and content: `hellaswag/12/5f2a9c0e1b7d4a36`.
    pub id: String,
    /// Row in the data.
    pub row: usize,
    /// Slice name and value.
    pub slices: Vec<(String, String)>,
    /// Rows of the pool that the shots are.
    pub shots: Vec<usize>,
    pub question: Question,
}

/// By kind of task.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// One prompt, or one for each choice.
    Choices {
        prompts: Vec<Prompt>,
        choices: Vec<String>,
        gold: Vec<usize>,
    },
    Cloze {
        prompt: Prompt,
        target: String,
    },
    Text {
        /// Before the text, not scored; empty for nothing.
        prefix: String,
        text: String,
        words: usize,
        bytes: usize,
    },
    Generate {
        prompt: Prompt,
        golds: Vec<String>,
    },
}

/// Rows of a task as they were read.
pub struct TaskData {
    pub rows: Vec<Map<String, Value>>,
    /// Rows that shots come from; `None` when they come from `rows`.
    pub pool: Option<Vec<Map<String, Value>>>,
}

/// A rendered question with its answers, before shots are put before it.
struct Rendered {
    questions: Vec<String>,
    answers: Vec<String>,
    gold: Vec<usize>,
}

/// Builds the items of a task.
///
/// # Errors
/// Every item whose template, choices or gold does not work, by row; a pool too small for the shots; no rows at all.
pub fn build_items(task: &Task, source: &Source, data: &TaskData) -> Result<Vec<Item>> {
    let builder = Builder { task, source, jinja: Jinja::new() };
    let scored = scored_rows(task, data.rows.len());
    if scored.is_empty() {
        return Err(Error::bad("expected at least one item, found none").at(format!("task {}", task.name)));
    }
    if task.shots > 0 && task.profile.shots == ShotRule::FixedList && data.pool.is_none() {
        return Err(Error::bad(format!(
            "expected `shots_file`, from which the profile {} takes shots",
            task.profile.id
        ))
        .at(format!("task {}", task.name)));
    }
    // A fixed list stays as it is, whatever a task says of shots that are drawn.
    let exclude =
        task.profile.shots != ShotRule::FixedList && !task.shots_may_repeat_item.unwrap_or(data.pool.is_some());
    let pool = data.pool.as_ref().unwrap_or(&data.rows);
    let needed = if task.shots > 0 && data.pool.is_none() {
        data.rows.len()
    } else {
        scored.iter().max().map_or(0, |last| last + 1)
    };
    let documents = builder.documents(&data.rows[..needed])?;
    let pool_documents = match &data.pool {
        Some(pool) if task.shots > 0 => builder.documents(pool)?,
        _ => Vec::new(),
    };
    let pool_document = |row: usize| if data.pool.is_some() { &pool_documents[row] } else { &documents[row] };
    let shots = choose_shots(
        task.profile.shots,
        task.shot_order,
        task.shots_per_item,
        (&task.name, task.seed),
        (scored.len(), pool.len(), task.shots),
        exclude,
        &|item, row| documents[scored[item]] == *pool_document(row),
    )
    .map_err(|e| e.at(format!("task {}", task.name)))?;

    let mut turns: Vec<Option<Turn>> = vec![None; pool.len()];
    let mut items = Vec::with_capacity(scored.len());
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (&row, shots) in scored.iter().zip(shots) {
        let item = (|| {
            for &shot in shots.iter().filter(|&&shot| turns[shot].is_none()).collect::<Vec<_>>() {
                turns[shot] = Some(
                    builder
                        .turn(pool_document(shot))
                        .map_err(|e| e.at(format!("task {}, shot row {shot}", task.name)))?,
                );
            }
            let chosen = shots.iter().filter_map(|&shot| turns[shot].clone()).collect();
            builder.item(row, &documents[row], shots.clone(), chosen)
        })();
        match item {
            Ok(item) => items.push(item),
            Err(error) => problems.extend(error.at(format!("task {}, item {row}", task.name)).into_diagnostics()),
        }
        if problems.len() >= MAX_PROBLEMS {
            problems.push(Diagnostic::new("more items may be bad; the rest was not looked at"));
            break;
        }
    }
    Error::check(problems)?;
    Ok(items)
}

/// The rows that are scored, in order.
fn scored_rows(task: &Task, rows: usize) -> Vec<usize> {
    match (task.limit, task.profile.limit) {
        (Some(limit), LimitRule::PythonSample) if limit < rows => PythonRandom::new(task.seed).sample(rows, limit),
        (limit, _) => (0..limit.map_or(rows, |limit| limit.min(rows))).collect(),
    }
}

struct Builder<'a> {
    task: &'a Task,
    source: &'a Source,
    jinja: Jinja,
}

impl Builder<'_> {
    /// Canonical documents: the mapped columns where a map is given, else the row, and the subset's name.
    fn documents(&self, rows: &[Map<String, Value>]) -> Result<Vec<Map<String, Value>>> {
        let mut problems = Vec::new();
        let mut documents = Vec::with_capacity(rows.len());
        for (row, columns) in rows.iter().enumerate() {
            match self.document(columns) {
                Ok(document) => documents.push(document),
                Err(error) => {
                    problems.extend(error.at(format!("task {}, row {row}", self.task.name)).into_diagnostics());
                }
            }
            if problems.len() >= MAX_PROBLEMS {
                break;
            }
        }
        Error::check(problems)?;
        Ok(documents)
    }

    fn document(&self, columns: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut document = if self.source.fields.is_empty() {
            columns.clone()
        } else {
            let mapped = self
                .source
                .fields
                .iter()
                .map(|(name, expression)| Ok((name.clone(), self.jinja.evaluate(expression, columns)?)));
            mapped.collect::<Result<_>>()?
        };
        if let Some(subset) = &self.task.subset {
            document.insert("subset".to_owned(), Value::from(subset.as_str()));
        }
        Ok(document)
    }

    fn item(&self, row: usize, document: &Map<String, Value>, shots: Vec<usize>, turns: Vec<Turn>) -> Result<Item> {
        let task = self.task;
        let question = match &task.kind {
            Kind::Perplexity { text, original } => {
                let text = self.jinja.render(text, document)?;
                let original = original.as_ref().map(|original| self.jinja.render(original, document)).transpose()?;
                let counted = original.as_ref().unwrap_or(&text);
                Question::Text {
                    prefix: task.prefix.clone(),
                    words: python::split_pieces(counted),
                    bytes: counted.len(),
                    text,
                }
            }
            Kind::MultipleChoice { protocol: Protocol::Generative { .. }, choices, gold, .. } => {
                let question = self.rendered(document)?.questions.remove(0);
                let texts = self.texts(choices, document)?;
                let right = self.gold(gold, document, &texts)?;
                let letters = letters(&texts)?;
                let golds = right.iter().flat_map(|&right| [letters[right].clone(), texts[right].clone()]).collect();
                Question::Generate { prompt: self.prompt(document, turns, question)?, golds }
            }
            Kind::MultipleChoice { .. } | Kind::Contexts { .. } => {
                let Rendered { questions, answers, gold } = self.rendered(document)?;
                let prompts = questions
                    .into_iter()
                    .map(|question| self.prompt(document, turns.clone(), question))
                    .collect::<Result<_>>()?;
                Question::Choices { prompts, choices: answers, gold }
            }
            Kind::Cloze { .. } => {
                let (question, target) = self.rendered(document)?.single()?;
                Question::Cloze { prompt: self.prompt(document, turns, question)?, target }
            }
            Kind::Generation { .. } => {
                let Rendered { mut questions, answers, .. } = self.rendered(document)?;
                Question::Generate { prompt: self.prompt(document, turns, questions.remove(0))?, golds: answers }
            }
        };
        let slices = task
            .slices
            .iter()
            .map(|(name, expression)| Ok((name.clone(), plain_text(&self.jinja.evaluate(expression, document)?))));
        let content = blake3::hash(Value::Object(document.clone()).to_string().as_bytes()).to_hex();
        Ok(Item {
            id: format!("{}/{row}/{}", task.name, &content[..16]),
            row,
            slices: slices.collect::<Result<_>>()?,
            shots,
            question,
        })
    }

    fn prompt(&self, document: &Map<String, Value>, shots: Vec<Turn>, question: String) -> Result<Prompt> {
        let task = self.task;
        let render = |template: &Option<_>| {
            template.as_ref().map_or(Ok(String::new()), |template| self.jinja.render(template, document))
        };
        Ok(Prompt {
            prefix: task.prefix.clone(),
            system: join(&task.system, &render(&task.description)?, &task.shot_delimiter),
            shots,
            question,
            answer_prefix: render(&task.answer_prefix)?,
            delimiter: task.delimiter.clone(),
            shot_delimiter: task.shot_delimiter.clone(),
        })
    }

    /// A worked example: the question that the right answer belongs to, and that answer.
    fn turn(&self, document: &Map<String, Value>) -> Result<Turn> {
        let Rendered { questions, answers, gold } = self.rendered(document)?;
        let right = gold.first().copied().unwrap_or(0);
        let pick = |texts: &[String]| texts[right.min(texts.len() - 1)].clone();
        let answer = match &self.task.shot_answer {
            Some(template) if !self.asks_for_letters() => self.jinja.render(template, document)?,
            _ => pick(&answers),
        };
        Ok(Turn { question: pick(&questions), answer })
    }

    fn asks_for_letters(&self) -> bool {
        matches!(&self.task.kind, Kind::MultipleChoice { protocol, .. } if protocol.list().is_some())
    }

    fn rendered(&self, document: &Map<String, Value>) -> Result<Rendered> {
        match &self.task.kind {
            Kind::MultipleChoice { prompt, choices, gold, protocol } => {
                let answers = self.texts(choices, document)?;
                let gold = self.gold(gold, document, &answers)?;
                let Some(list) = protocol.list() else {
                    return Ok(Rendered { questions: vec![self.jinja.render(prompt, document)?], answers, gold });
                };
                let letters = letters(&answers)?;
                let listing = listing(&letters, &answers);
                let question = match list {
                    List::InPrompt => with_listing(&self.jinja.render(prompt, document)?, &listing),
                    List::Template(template) => {
                        let mut document = document.clone();
                        document.insert("listing".to_owned(), Value::from(listing));
                        self.jinja.render(template, &document)?
                    }
                };
                Ok(Rendered { questions: vec![question], answers: letters, gold })
            }
            Kind::Contexts { contexts, continuation, gold } => {
                let questions = self.texts(contexts, document)?;
                let gold = self.gold(gold, document, &questions)?;
                let answers = vec![self.jinja.render(continuation, document)?; questions.len()];
                Ok(Rendered { questions, answers, gold })
            }
            Kind::Cloze { prompt, target } => Ok(Rendered {
                questions: vec![self.jinja.render(prompt, document)?],
                answers: vec![self.jinja.render(target, document)?],
                gold: vec![0],
            }),
            Kind::Generation { prompt, target, .. } => {
                let answers = match self.jinja.evaluate(target, document)? {
                    Value::Array(list) if !list.is_empty() => list.iter().map(plain_text).collect(),
                    Value::Array(_) => {
                        return Err(Error::bad("`target`: expected at least one right answer, found none"));
                    }
                    single => vec![plain_text(&single)],
                };
                Ok(Rendered { questions: vec![self.jinja.render(prompt, document)?], answers, gold: vec![0] })
            }
            Kind::Perplexity { .. } => Err(Error::bad("a perplexity task has no shots").help("leave `shots` out")),
        }
    }

    /// A list of at least two texts.
    fn texts(&self, expression: &Expression, document: &Map<String, Value>) -> Result<Vec<String>> {
        let value = self.jinja.evaluate(expression, document)?;
        let Value::Array(list) = value else {
            return Err(Error::bad(format!("choices: expected a list, found {value}")));
        };
        if list.len() < 2 {
            return Err(Error::bad(format!("choices: expected at least two, found {}", list.len())));
        }
        Ok(list.iter().map(plain_text).collect())
    }

    fn gold(&self, gold: &Gold, document: &Map<String, Value>, choices: &[String]) -> Result<Vec<usize>> {
        let count = choices.len();
        // A truth value is an index, as in Python.
        let index = |value: &Value| match value.as_bool().map(u64::from).or(value.as_u64()) {
            Some(index) if (index as usize) < count => Ok(index as usize),
            _ => Err(Error::bad(format!("gold: expected an index from 0 to {}, found {value}", count - 1))),
        };
        match gold {
            Gold::Index(expression) => match self.jinja.evaluate(expression, document)? {
                Value::Array(list) if list.is_empty() => {
                    Err(Error::bad("gold: expected at least one right choice, found none"))
                }
                Value::Array(list) => list.iter().map(index).collect(),
                Value::String(text) => match choices.iter().position(|choice| *choice == text) {
                    Some(position) => Ok(vec![position]),
                    None => Err(Error::bad(format!("gold: expected one of the choices, found {text:?}"))
                        .help("use `|int` where a column holds an index as text")),
                },
                single => Ok(vec![index(&single)?]),
            },
            Gold::Labels(expression) => {
                let value = self.jinja.evaluate(expression, document)?;
                let labels = value.as_array().filter(|labels| labels.len() == count);
                let labels =
                    labels.ok_or_else(|| Error::bad(format!("labels: expected a list of {count}, found {value}")))?;
                let right: Vec<usize> =
                    (0..count).filter(|&i| labels[i] == 1 || labels[i] == Value::Bool(true)).collect();
                if right.is_empty() {
                    return Err(Error::bad("labels: expected at least one right choice, found none"));
                }
                Ok(right)
            }
        }
    }
}

impl Rendered {
    /// The one question and its answer.
    fn single(mut self) -> Result<(String, String)> {
        self.questions.pop().zip(self.answers.pop()).ok_or_else(|| Error::internal("a question without answer"))
    }
}

/// A text as it is, anything else as Python shows it.
fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    }
}
