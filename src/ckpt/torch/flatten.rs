//! The values of a pickle by dotted path, such as `state.0.exp_avg` of an optimizer.

use std::collections::{BTreeMap, BTreeSet};

use super::value::{Id, Label, Node, Values, place};
use super::{Result, TorchError};

/// Of containers within each other; a state dict has two, a checkpoint with an optimizer six.
const MAX_DEPTH: usize = 64;
/// Of keys, names and texts, in bytes a byte of pickle and in all: a pickle of some bytes can spell exponentially many
/// paths, by containers that hold another one twice. The most that is in use is about 30, for the numbers in
/// `optimizer.param_groups.0.params`.
const MAX_BYTES_A_BYTE: usize = 64;
const MIN_BUDGET: usize = 1 << 20;
const MAX_BUDGET: usize = 256 << 20;

/// A plain value beside the tensors.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// Everything at the end of a path. Keys of dicts and positions in lists are joined by dots; a value that is no
/// container has the empty path. Empty containers have none.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub(super) tensors: BTreeMap<String, Id>,
    pub(super) scalars: BTreeMap<String, Scalar>,
    /// What was not read, and why: the name of its class, or what it is.
    pub(super) opaque: BTreeMap<String, String>,
}

/// A container that is being walked.
struct Level<'a> {
    id: Id,
    items: std::vec::IntoIter<(Key<'a>, Id)>,
    /// Length of its own path.
    path: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Text(&'a str),
    Int(i64),
    /// A key of another kind, by its place in the dict.
    Other(usize),
}

pub(super) fn flatten(values: &Values, root: Id) -> Result<Flat> {
    let budget = values.pickle().len().saturating_mul(MAX_BYTES_A_BYTE).clamp(MIN_BUDGET, MAX_BUDGET);
    let mut walk = Walk { values, path: String::new(), levels: Vec::new(), budget, flat: Flat::default() };
    walk.enter(root).map_err(|e| walk.located(e))?;
    while let Some(level) = walk.levels.last_mut() {
        walk.path.truncate(level.path);
        match level.items.next() {
            Some((key, id)) => walk.child(key, id).map_err(|e| walk.located(e))?,
            None => drop(walk.levels.pop()),
        }
    }
    Ok(walk.flat)
}

struct Walk<'a> {
    values: &'a Values,
    path: String,
    levels: Vec<Level<'a>>,
    /// Bytes that may still be spent.
    budget: usize,
    flat: Flat,
}

impl<'a> Walk<'a> {
    fn located(&self, message: String) -> TorchError {
        TorchError::new(message).at(place("value", &self.path))
    }

    fn child(&mut self, key: Key<'a>, id: Id) -> Result<(), String> {
        // The root has no name to put before the dot.
        if self.levels.len() > 1 {
            self.path.push('.');
        }
        match key {
            Key::Text(text) => self.path.push_str(text),
            Key::Int(number) => self.path += &number.to_string(),
            Key::Other(place) => {
                self.path += &format!("(key {place})");
                return self.opaque("a value under a key that is no text or whole number");
            }
        }
        self.enter(id)
    }

    fn enter(&mut self, id: Id) -> Result<(), String> {
        match self.values.get(id) {
            Node::Tuple(_) | Node::List(_) | Node::Dict(_) => self.open(id),
            Node::Tensor(tensor) => {
                self.spend(16 * tensor.shape.len() + tensor.key.bytes as usize)?;
                self.name(|flat, path| flat.tensors.insert(path, id).is_some())
            }
            Node::None => self.scalar(Scalar::None),
            &Node::Bool(value) => self.scalar(Scalar::Bool(value)),
            &Node::Int(value) => self.scalar(Scalar::Int(value)),
            &Node::Float(value) => self.scalar(Scalar::Float(value)),
            Node::Text(span) => {
                self.spend(span.bytes as usize)?;
                self.scalar(Scalar::Text(self.values.text(*span).to_owned()))
            }
            Node::Storage(storage) => self.opaque_of(Label::Global(storage.class)),
            Node::Global { .. } => self.opaque_of(Label::Global(id)),
            &Node::Opaque(label) => self.opaque_of(label),
        }
    }

    fn open(&mut self, id: Id) -> Result<(), String> {
        if self.levels.iter().any(|level| level.id == id) {
            return self.opaque("a container within itself");
        }
        if self.levels.len() == MAX_DEPTH {
            return Err(format!("expected at most {MAX_DEPTH} containers within each other, found more"));
        }
        let items = match self.values.get(id) {
            Node::Tuple(items) | Node::List(items) => {
                self.spend(8 * items.len())?;
                (0..).map(Key::Int).zip(items.iter().copied()).collect()
            }
            Node::Dict(pairs) => {
                self.spend(pairs.iter().map(|&(key, _)| 8 + text_bytes(self.values, key)).sum())?;
                last_of_each(self.values, pairs)
            }
            _ => Vec::new(),
        };
        self.levels.push(Level { id, items: items.into_iter(), path: self.path.len() });
        Ok(())
    }

    fn scalar(&mut self, value: Scalar) -> Result<(), String> {
        self.name(|flat, path| flat.scalars.insert(path, value).is_some())
    }

    fn opaque_of(&mut self, label: Label) -> Result<(), String> {
        let label = self.values.label(label);
        self.opaque(&label)
    }

    fn opaque(&mut self, label: &str) -> Result<(), String> {
        self.spend(label.len())?;
        self.name(|flat, path| flat.opaque.insert(path, label.to_owned()).is_some())
    }

    /// Lists the value at the path, of which there may be one: `{"a": {"b": 1}, "a.b": 2}` has two.
    fn name(&mut self, insert: impl FnOnce(&mut Flat, String) -> bool) -> Result<(), String> {
        self.spend(self.path.len())?;
        let path = &self.path;
        let flat = &self.flat;
        let twice =
            flat.tensors.contains_key(path) || flat.scalars.contains_key(path) || flat.opaque.contains_key(path);
        if insert(&mut self.flat, self.path.clone()) || twice {
            return Err("expected one value of this name, found two".to_owned());
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.budget.checked_sub(bytes);
        self.budget =
            left.ok_or("expected names and texts in proportion to the pickle, found a pickle that repeats itself")?;
        Ok(())
    }
}

fn text_bytes(values: &Values, id: Id) -> usize {
    match values.get(id) {
        Node::Text(span) => span.bytes as usize,
        _ => 0,
    }
}

/// As Python fills a dict: a later pair of the same key replaces an earlier one.
fn last_of_each<'a>(values: &'a Values, pairs: &[(Id, Id)]) -> Vec<(Key<'a>, Id)> {
    let key = |(place, &(key, value)): (usize, &(Id, Id))| match values.get(key) {
        Node::Text(span) => (Key::Text(values.text(*span)), value),
        &Node::Int(number) => (Key::Int(number), value),
        _ => (Key::Other(place), value),
    };
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> = pairs.iter().enumerate().map(key).rev().filter(|(key, _)| seen.insert(*key)).collect();
    kept.reverse();
    kept
}
