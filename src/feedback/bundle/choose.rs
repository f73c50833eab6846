//! Which items become feedback, and which measure what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::declare::{Declarations, declared};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::Target;
use crate::feedback::split::{SealedGrams, Split};
use crate::run::{Prepared, RightAnswer, right_answers};
use crate::text::Tokenizer;

/// Fewer have no halves to compare.
const FEWEST_ITEMS: usize = 2;

/// What is wanted of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Names of tasks; all of the suite when there are none.
    pub tasks: Vec<String>,
    /// Feedback items of each task, at most.
    pub items: usize,
    /// Whether the sealed items of all other tasks are wanted as well, to measure what feedback costs elsewhere.
    pub others: bool,
}

/// Items of the wanted tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    pub targets: Vec<ChosenTarget>,
    /// How many of all items of the suite are on which side, and how many were refused.
    pub feedback: usize,
    pub development: usize,
    pub sealed: usize,
    /// As too like a sealed one, or because their shots are no feedback.
    pub refused: usize,
    /// What sealed items are known by.
    pub grams: SealedGrams,
}

/// Items of one task. Their order is that of hashes: random, and the same every time.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenTarget {
    pub name: String,
    /// The task's first group, or the task itself.
    pub domain: String,
    /// What may leave.
    pub feedback: Vec<Target>,
    /// What is measured on, and never leaves.
    pub sealed: Vec<Target>,
}

impl ChosenTarget {
    /// Gives each feedback item the answer of the next one that has another: a control of equal size, whose gradients know the
    /// form of the answers and not which is right. Where all answers are the same, they stay.
    pub fn shuffle_answers(&mut self, longest: usize) {
        let answers: Vec<Vec<u32>> = self.feedback.iter().map(|item| item.tokens[item.start..].to_vec()).collect();
        let count = answers.len();
        for (number, item) in self.feedback.iter_mut().enumerate() {
            let others = (1..count).map(|by| &answers[(number + by) % count]);
            let fits = |other: &&Vec<u32>| **other != answers[number] && item.start + other.len() <= longest;
            if let Some(other) = others.into_iter().find(fits) {
                item.tokens.truncate(item.start);
                item.tokens.extend_from_slice(other);
            }
        }
    }
}

/// Puts all items of the suite on their sides, all tasks at once, and encodes those of the wanted tasks.
///
/// # Errors
/// Tasks that the suite does not have, wanted tasks with fewer than two items on the side of feedback or that are sealed;
/// items without words, that are there twice, or whose answer cannot be encoded.
pub fn choose(
    prepared: Prepared,
    data_dir: Option<&Path>,
    wish: &Wish,
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Chosen> {
    let wanted = wanted_tasks(&prepared, &wish.tasks)?;
    let measured = if wish.others { (0..prepared.tasks.len()).collect() } else { wanted.clone() };
    let declarations = declared(&prepared, data_dir)?;
    let split = Split::new(&declarations.items)?;
    let (may_leave, refused) = may_leave(&prepared, &declarations, &split);
    let mut sides = Sides::default();
    for place in may_leave.into_iter().filter(|(task, _)| wanted.contains(task)) {
        if sides.feedback.of(place.0) < wish.items {
            sides.feedback.add(place);
        }
    }
    for place in split.sealed().iter().map(|item| declarations.places[item.index]) {
        if measured.contains(&place.0) {
            sides.sealed.add(place);
        }
    }
    let tasks = sides.large_enough(&prepared, &wanted, &measured)?;
    Ok(Chosen {
        targets: encoded(prepared, &tasks, &sides, tokenizer, longest)?,
        feedback: split.feedback().len() - refused,
        development: split.development(),
        sealed: split.sealed().len(),
        refused: split.refused().len() + refused,
        grams: split.sealed_grams().clone(),
    })
}

/// Task and number of an item.
type Where = (usize, usize);

/// Items that may be feedback, in the order of hashes, and how many may not because of their shots: these stand in what is
/// exported, so rows of the task's own must be feedback themselves.
fn may_leave(prepared: &Prepared, declarations: &Declarations, split: &Split) -> (Vec<Where>, usize) {
    let places: Vec<Where> = split.feedback().iter().map(|item| declarations.places[item.index()]).collect();
    let mut rows: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); prepared.tasks.len()];
    for &(task, item) in &places {
        rows[task].insert(prepared.tasks[task].items[item].row);
    }
    let shows_feedback_only = |&(task, item): &Where| {
        let shots = &prepared.tasks[task].items[item].shots;
        !declarations.own_shots[task] || shots.iter().all(|row| rows[task].contains(row))
    };
    let all = places.len();
    let left: Vec<Where> = places.into_iter().filter(shows_feedback_only).collect();
    let refused = all - left.len();
    (left, refused)
}

/// Items of one side with their rank, so that the order of hashes survives the encoding.
#[derive(Default)]
struct Ranked(BTreeMap<Where, usize>);

impl Ranked {
    fn add(&mut self, place: Where) {
        self.0.insert(place, self.0.len());
    }

    /// How many of a task.
    fn of(&self, task: usize) -> usize {
        self.0.range((task, 0)..(task + 1, 0)).count()
    }

    fn rank(&self, place: Where) -> Option<usize> {
        self.0.get(&place).copied()
    }
}

#[derive(Default)]
struct Sides {
    feedback: Ranked,
    sealed: Ranked,
}

impl Sides {
    /// The measured tasks that have enough items.
    ///
    /// # Errors
    /// Wanted tasks that have not.
    fn large_enough(
        &self,
        prepared: &Prepared,
        wanted: &BTreeSet<usize>,
        measured: &BTreeSet<usize>,
    ) -> Result<Vec<usize>> {
        let problem = |&task: &usize| {
            let (feedback, sealed) = (self.feedback.of(task), self.sealed.of(task));
            let found = format!(
                "expected at least {FEWEST_ITEMS} items on the side of feedback and {FEWEST_ITEMS} that are sealed, \
                 found {feedback} and {sealed}"
            );
            let help = "a task of a handful of items cannot be both taught and measured; and an item whose shots are rows of \
                        its own task may be feedback only where they are: name a `shots_file`, or take fewer shots";
            let problem = Diagnostic::new(found).at(format!("task {}", prepared.tasks[task].task.name)).help(help);
            (feedback.min(sealed) < FEWEST_ITEMS).then_some(problem)
        };
        Error::check(wanted.iter().filter_map(problem).collect())?;
        Ok(measured.iter().copied().filter(|&task| self.sealed.of(task) >= FEWEST_ITEMS).collect())
    }
}

/// Encodes what is on the sides and nothing else: an answer that cannot be encoded is somebody else's problem then.
fn encoded(
    mut prepared: Prepared,
    tasks: &[usize],
    sides: &Sides,
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Vec<ChosenTarget>> {
    let mut numbers: Vec<Vec<usize>> = vec![Vec::new(); prepared.tasks.len()];
    for (task, own) in prepared.tasks.iter_mut().enumerate() {
        let stays = |item: usize| sides.feedback.rank((task, item)).or(sides.sealed.rank((task, item))).is_some();
        numbers[task] = (0..own.items.len()).filter(|&item| stays(item)).collect();
        let mut item = 0..;
        own.items.retain(|_| item.next().is_some_and(&stays));
    }
    let mut found: BTreeMap<usize, [BTreeMap<usize, Target>; 2]> = BTreeMap::new();
    for RightAnswer { task, item, tokens, start } in right_answers(&prepared, tokenizer, longest)? {
        let place = (task, numbers[task][item]);
        let target = Target { id: prepared.tasks[task].items[item].id.clone(), tokens, start };
        let [feedback, sealed] = found.entry(task).or_default();
        match (sides.feedback.rank(place), sides.sealed.rank(place)) {
            (Some(rank), _) => feedback.insert(rank, target),
            (None, Some(rank)) => sealed.insert(rank, target),
            (None, None) => None,
        };
    }
    let target = |task: &usize| {
        let own = &prepared.tasks[*task].task;
        let [feedback, sealed] = found.remove(task).unwrap_or_default();
        ChosenTarget {
            name: own.name.clone(),
            domain: own.groups.first().unwrap_or(&own.name).clone(),
            feedback: feedback.into_values().collect(),
            sealed: sealed.into_values().collect(),
        }
    };
    Ok(tasks.iter().map(target).collect())
}

/// Numbers of the wanted tasks.
fn wanted_tasks(prepared: &Prepared, names: &[String]) -> Result<BTreeSet<usize>> {
    let number = |name: &String| prepared.tasks.iter().position(|task| task.task.name == *name);
    let problem = |name: &&String| {
        let known: Vec<&str> = prepared.tasks.iter().map(|task| task.task.name.as_str()).collect();
        Diagnostic::new(format!("expected a task of the suite ({}), found {name}", known.join(", ")))
    };
    let unknown: Vec<&String> = names.iter().filter(|name| number(name).is_none()).collect();
    Error::check(unknown.iter().map(problem).collect())?;
    if names.is_empty() {
        return Ok((0..prepared.tasks.len()).collect());
    }
    Ok(names.iter().filter_map(number).collect())
}
