//! The tasks that ask the facts of the world.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::World;
use super::ask::{self, Form};
use super::choices::{self, CHOICES, Candidate, Candidates};
use super::facts;
use super::item::{Item, LabTask, Split};
use super::random::Stream;
use super::zipf;

/// A task over facts.
struct Definition {
    name: &'static str,
    form: Form,
    /// Whether it asks facts of a year, or facts that last.
    dated: bool,
    kind: Kind,
    about: &'static str,
    taught_by: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Choice,
    Generation,
}

const LASTING: &[&str] = &["encyclopedia", "stories", "quiz"];

const DEFINITIONS: [Definition; 5] = [
    Definition {
        name: "facts_cloze",
        form: Form::Cloze,
        dated: false,
        kind: Kind::Choice,
        about: "Facts of the world as sentences to be finished; four answers, no help from how frequent they are.",
        taught_by: LASTING,
    },
    Definition {
        name: "facts_choice",
        form: Form::Question,
        dated: false,
        kind: Kind::Choice,
        about: "The same facts as questions with four answers.",
        taught_by: LASTING,
    },
    Definition {
        name: "facts_answer",
        form: Form::Question,
        dated: false,
        kind: Kind::Generation,
        about: "The same questions, to be answered freely.",
        taught_by: LASTING,
    },
    Definition {
        name: "entity_questions",
        form: Form::Short,
        dated: false,
        kind: Kind::Generation,
        about: "The same facts in other words, with the ids of subject and answer.",
        taught_by: LASTING,
    },
    Definition {
        name: "dated_facts",
        form: Form::Question,
        dated: true,
        kind: Kind::Choice,
        about: "Who was the mayor that year? The wrong answers were right in other years.",
        taught_by: &["chronicle", "quiz"],
    },
];

/// All tasks, each with its items in random order.
pub(super) fn all(world: &World) -> Vec<LabTask> {
    DEFINITIONS.iter().map(|definition| task(world, definition)).collect()
}

fn task(world: &World, definition: &Definition) -> LabTask {
    let mut stream = Stream::new(world.seed, &["world", "tasks", definition.name]);
    let asked = |number: &usize| {
        let fact = &world.facts[*number];
        fact.asked && fact.year.is_some() == definition.dated
    };
    let mut numbers: Vec<usize> = (0..world.facts.len()).filter(asked).collect();
    stream.shuffle(&mut numbers);
    let rows: Vec<Map<String, Value>> = match definition.kind {
        Kind::Generation => numbers.iter().map(|&number| row(world, definition, number)).collect(),
        Kind::Choice => {
            let statements = Statements::new(world);
            let candidates: Vec<Candidates> = numbers.iter().map(|&n| statements.candidates(world, n)).collect();
            let chosen = choices::choose(&candidates, &mut stream);
            let add_choices = |(&number, (choices, place)): (&usize, (Vec<usize>, usize))| {
                let mut row = row(world, definition, number);
                let entity = |choice: &usize| world.entities.get(*choice);
                row.insert("choices".into(), choices.iter().map(|choice| entity(choice).name.as_str()).collect());
                row.insert("choice_ids".into(), choices.iter().map(|choice| entity(choice).id.as_str()).collect());
                row.insert("gold".into(), place.into());
                row
            };
            numbers.iter().zip(chosen).map(add_choices).collect()
        }
    };
    let items = numbers.iter().zip(rows).map(|(&number, row)| Item {
        own_text: ask::ask(world, number, definition.form).own_text(),
        split: split(world, number),
        row,
    });
    LabTask {
        name: definition.name.to_owned(),
        items: items.collect(),
        toml: file(definition),
        chance: if definition.kind == Kind::Choice { 1.0 / CHOICES as f64 } else { 0.0 },
        taught_by: definition.taught_by.to_vec(),
        made_of: Vec::new(),
    }
}

/// A fact is in the same split in every task that asks it, so that steering by one task tells nothing on the sealed items
/// of another.
fn split(world: &World, number: usize) -> Split {
    Split::of("facts", &ask::ask(world, number, Form::Question).own_text())
}

fn row(world: &World, definition: &Definition, number: usize) -> Map<String, Value> {
    let fact = &world.facts[number];
    let (subject, object) = (world.entities.get(fact.subject), world.entities.get(fact.object));
    let asked = ask::ask(world, number, definition.form);
    let mut row = Map::new();
    row.insert("id".into(), format!("{}-{number}", definition.name).into());
    row.insert("prompt".into(), asked.prompt.into());
    if definition.form != Form::Cloze {
        row.insert("question".into(), asked.question.into());
    }
    row.insert("answer".into(), asked.answer.into());
    if definition.kind == Kind::Generation {
        row.insert("possible_answers".into(), json!([object.name]));
    }
    row.insert("fact".into(), number.into());
    row.insert("relation".into(), fact.relation.name.into());
    row.insert("subject".into(), subject.name.as_str().into());
    row.insert("subject_id".into(), subject.id.as_str().into());
    row.insert("answer_id".into(), object.id.as_str().into());
    if let Some(year) = fact.year {
        row.insert("year".into(), year.into());
    }
    row.insert("statements".into(), fact.statements.into());
    row.insert("bin".into(), zipf::bin(fact.statements).into());
    row
}

fn file(definition: &Definition) -> String {
    let Definition { name, about, kind, .. } = definition;
    let (label, answers) = match kind {
        Kind::Choice => ("multiple_choice", "choices = \"choices\"\ngold = \"gold\"\n"),
        Kind::Generation => (
            "generation",
            "target = \"possible_answers\"\nstop = [\"\\n\", \".\"]\nmax_tokens = 12\n\
             filters = [{ name = \"stripped\", steps = [{ op = \"strip\" }] }]\n",
        ),
    };
    format!(
        "schema = \"veval.task/1\"\nname = \"{name}\"\nversion = \"1.0\"\nkind = \"{label}\"\nabout = \"{about}\"\n\
         prompt = \"{{{{ prompt }}}}\"\n{answers}slices = {{ bin = \"bin\", relation = \"relation\" }}\n"
    )
}

/// Objects that could be mistaken for each other, and how often each is an answer.
#[derive(Default)]
struct Statements {
    /// By what [`facts::Fact::rivals`] says, in all documents.
    of_rivals: BTreeMap<(&'static str, Option<usize>), BTreeMap<usize, usize>>,
    /// By relation, in all documents.
    of_relation: BTreeMap<&'static str, BTreeMap<usize, usize>>,
    /// By relation, in quizzes, which look like the tasks.
    in_quizzes: BTreeMap<&'static str, BTreeMap<usize, usize>>,
}

impl Statements {
    fn new(world: &World) -> Self {
        let mut counts = Self::default();
        for fact in &world.facts {
            let (relation, times) = (fact.relation.name, fact.statements + fact.quizzed);
            *counts.of_rivals.entry(fact.rivals()).or_default().entry(fact.object).or_default() += times;
            *counts.of_relation.entry(relation).or_default().entry(fact.object).or_default() += times;
            *counts.in_quizzes.entry(relation).or_default().entry(fact.object).or_default() += fact.quizzed;
        }
        counts
    }

    /// Wrong answers are what is right in other years; of facts that last, anything that could have been drawn, also what
    /// no stated fact has: else an answer that is never stated would have to be right.
    fn candidates(&self, world: &World, number: usize) -> Candidates {
        let fact = &world.facts[number];
        let relation = fact.relation.name;
        let rivals = &self.of_rivals[&fact.rivals()];
        let all = match fact.year {
            Some(_) => rivals.keys().copied().collect(),
            None => facts::candidates(&world.entities, fact.relation.object),
        };
        let times = |counts: &BTreeMap<usize, usize>, entity| counts.get(&entity).copied().unwrap_or(0);
        let candidate = |entity: usize| Candidate {
            entity,
            stated: times(rivals, entity),
            elsewhere: [times(&self.of_relation[relation], entity), times(&self.in_quizzes[relation], entity)],
        };
        Candidates {
            group: zipf::bin(fact.statements),
            right: candidate(fact.object),
            wrong: all.into_iter().filter(|&entity| entity != fact.object).map(candidate).collect(),
        }
    }
}
