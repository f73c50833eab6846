//! The side of each item, and what may leave.

use std::collections::{BTreeMap, BTreeSet};

use super::grams::{ItemGrams, Overlap, SealedGrams};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Feedback,
    Development,
    Sealed,
}

impl Side {
    pub const ALL: [Self; 3] = [Self::Feedback, Self::Development, Self::Sealed];

    /// As the column `split` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Development => "development",
            Self::Sealed => "sealed",
        }
    }

    /// # Errors
    /// Other words.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|side| side.name() == text).ok_or_else(|| {
            Error::bad(format!("expected `feedback`, `development` or `sealed` under `split`, found `{text}`"))
        })
    }
}

/// What the row of an item brought, field by field: no template, no instruction, no shot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnFields(BTreeMap<String, String>);

impl OwnFields {
    /// Names and texts.
    pub fn new<N: Into<String>, T: Into<String>>(fields: impl IntoIterator<Item = (N, T)>) -> Self {
        Self(fields.into_iter().map(|(name, text)| (name.into(), text.into())).collect())
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

/// An item to be put on a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub task: String,
    pub id: String,
    pub fields: OwnFields,
    /// The column `split` of its row.
    pub side: Option<Side>,
}

/// An item that may be exported. It comes from [`Split::feedback`] and from nowhere else.
///
/// ```compile_fail,E0451
/// let item = veval::feedback::split::FeedbackItem { index: 0, task: String::new(), id: String::new() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackItem {
    index: usize,
    task: String,
    id: String,
}

impl FeedbackItem {
    /// The item's number among those that were split.
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn task(&self) -> &str {
        &self.task
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

/// An item that scores may be quoted of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedItem {
    pub index: usize,
    pub task: String,
    pub id: String,
}

/// An item on the side of feedback that must not leave. The sealed item's words are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub index: usize,
    pub task: String,
    pub id: String,
    pub overlap: Overlap,
    /// The sealed item's number.
    pub sealed: usize,
}

/// All items of a suite, each on its side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    feedback: Vec<FeedbackItem>,
    sealed: Vec<SealedItem>,
    refused: Vec<Refused>,
    development: usize,
    grams: SealedGrams,
}

impl Split {
    /// Puts all items of all tasks on their sides at once: an item of one task must not teach a sealed item of another.
    ///
    /// # Errors
    /// Every item without a word, and every item that is there twice.
    pub fn new(items: &[Declared]) -> Result<Self> {
        let grams = checked(items)?;
        let side = |index: usize| items[index].side.unwrap_or_else(|| hashed_side(grams[index].whole));
        let sealed_grams = SealedGrams::new(&grams, |index| side(index) == Side::Sealed);
        let mut split =
            Self { feedback: Vec::new(), sealed: Vec::new(), refused: Vec::new(), development: 0, grams: sealed_grams };
        // By hash, so that the first n of a task are a sample of it, and part of the first n + 1.
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_unstable_by_key(|&index| (grams[index].whole, index));
        for index in order {
            let (task, id) = (items[index].task.clone(), items[index].id.clone());
            match (side(index), split.grams.overlap_of(&grams[index])) {
                (Side::Development, _) => split.development += 1,
                (Side::Sealed, _) => split.sealed.push(SealedItem { index, task, id }),
                (Side::Feedback, None) => split.feedback.push(FeedbackItem { index, task, id }),
                (Side::Feedback, Some((overlap, sealed))) => {
                    split.refused.push(Refused { index, task, id, overlap, sealed });
                }
            }
        }
        Ok(split)
    }

    /// What may be exported, in the order of hashes.
    pub fn feedback(&self) -> &[FeedbackItem] {
        &self.feedback
    }

    /// Whose scores may be quoted.
    pub fn sealed(&self) -> &[SealedItem] {
        &self.sealed
    }

    /// What must not be exported although it is not sealed.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// How many items are for tuning.
    pub fn development(&self) -> usize {
        self.development
    }

    /// What sealed items are known by, to keep them out of other things, such as a corpus.
    pub fn sealed_grams(&self) -> &SealedGrams {
        &self.grams
    }

    /// Checks ids that somebody else says are feedback, such as those of a stored set: each must be an item that this
    /// split lets go.
    ///
    /// # Errors
    /// Every other one.
    pub fn check_feedback(&self, task: &str, ids: &[String]) -> Result<()> {
        let allowed: BTreeSet<&str> =
            self.feedback.iter().filter(|item| item.task == task).map(|item| item.id.as_str()).collect();
        let sealed = |id: &str| self.sealed.iter().any(|item| item.task == task && item.id == id);
        let refused = |id: &str| self.refused.iter().any(|item| item.task == task && item.id == id);
        let problem = |id: &String| {
            let found = match id.as_str() {
                id if sealed(id) => "a sealed one",
                id if refused(id) => "one that overlaps with a sealed one",
                _ => "one that the split does not have on that side",
            };
            Diagnostic::new(format!("expected an item on the side of feedback, found {found}"))
                .at(format!("task {task}, item {id}"))
                .help("build the feedback set anew from this suite")
        };
        Error::check(ids.iter().filter(|id| !allowed.contains(id.as_str())).map(problem).collect())
    }
}

/// Half of all contents is sealed.
fn hashed_side(whole: u64) -> Side {
    // The low bit, as the order of items is that of the whole number.
    if whole & 1 == 0 { Side::Feedback } else { Side::Sealed }
}

/// The grams of all items, each of which there is once.
fn checked(items: &[Declared]) -> Result<Vec<ItemGrams>> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut grams = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = || format!("task {}, item {}", item.task, item.id);
        if let Some(first) = seen.insert((&item.task, &item.id), index) {
            let sides = [first, index].map(|index| items[index].side.map_or("no side", Side::name));
            let message = format!("expected each item once, found it twice, as {} and {}", sides[0], sides[1]);
            problems.push(Diagnostic::new(message).at(place()).help("give every row an id of its own"));
        }
        match ItemGrams::of(&item.fields) {
            Some(found) => grams.push(found),
            None => problems.push(
                Diagnostic::new("expected at least one word in the item's own fields, found none")
                    .at(place())
                    .help("name the fields of the row that make the item"),
            ),
        }
    }
    Error::check(problems)?;
    Ok(grams)
}
