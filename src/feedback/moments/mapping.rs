//! Which parameter each state of an optimizer belongs to: torch numbers parameters in the order in which they were
//! given.

use std::collections::BTreeMap;

use super::Parameter;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// What the order of the model's parameters means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// That of torch's `model.named_parameters()`, in which trainers hand parameters to the optimizer
    /// ([`super::sort_by_module`]).
    Module,
    /// Nothing: a state is told by its shape alone, which must be no other parameter's.
    Unknown,
}

/// A state that waits for its name.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// torch's number of the parameter.
    pub number: u64,
    /// Place of its group among the groups.
    pub group: usize,
    /// As the optimizer recorded it.
    pub name: Option<String>,
    /// `None` where no moments were found, which is a problem of its own.
    pub shape: Option<Vec<usize>>,
}

/// What `DistributedDataParallel` and `torch.compile` put before names.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

pub(super) const NAMES_HELP: &str =
    "save the optimizer with names: `torch.optim.AdamW(model.named_parameters())` since PyTorch 2.6";

/// Places among the parameters, one for each slot. Slots are in the order of their groups and within them.
pub(super) fn assign(slots: &[Slot], groups: usize, parameters: &[Parameter], order: Order) -> Result<Vec<usize>> {
    if slots.iter().any(|slot| slot.name.is_some()) {
        return by_name(slots, parameters);
    }
    let mut refused = Vec::new();
    let mut fitting: Vec<Vec<usize>> = Vec::new();
    for grouping in groupings(parameters, groups)? {
        match fit(slots, &grouping, parameters, order) {
            Ok(places) => fitting.push(places),
            Err(problems) => refused.push(problems),
        }
    }
    match (fitting.len(), refused.into_iter().next()) {
        (1, _) => Ok(fitting.remove(0)),
        (0, Some(problems)) => Err(Error::all(problems)),
        _ => Err(Error::bad("expected one way to give the groups their parameters, found several").help(NAMES_HELP)),
    }
}

fn by_name(slots: &[Slot], parameters: &[Parameter]) -> Result<Vec<usize>> {
    let known: BTreeMap<&str, usize> =
        parameters.iter().enumerate().map(|(place, parameter)| (parameter.name.as_str(), place)).collect();
    let mut problems = Vec::new();
    let mut slot_of: BTreeMap<usize, u64> = BTreeMap::new();
    let mut places = Vec::new();
    for slot in slots {
        let mut name = slot.name.as_deref().unwrap_or_default();
        while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
            name = inner;
        }
        let mut problem = |message: String| problems.push(Diagnostic::new(message).at(place_of(slot)));
        let Some(&place) = known.get(name) else {
            problem(format!("expected the name of a parameter of the model, found {name:?}"));
            continue;
        };
        if let Some(problem) = shape_problem(slot, &parameters[place]) {
            problems.push(problem);
        } else if let Some(other) = slot_of.insert(place, slot.number) {
            problem(format!("expected one state of {name}, found it under {other} as well"));
        }
        places.push(place);
    }
    let missing = parameters.iter().enumerate().filter(|(place, _)| !places.contains(place));
    problems.extend(missing.map(|(_, parameter)| {
        Diagnostic::new("expected a state of this name, found none").at(format!("parameter {}", parameter.name))
    }));
    Error::check(problems)?;
    Ok(places)
}

/// Ways to part the parameters into groups, as places. One group has them all; of two, the first has those whose
/// weights decay, as the Hugging Face Trainer makes them.
fn groupings(parameters: &[Parameter], groups: usize) -> Result<Vec<Vec<Vec<usize>>>> {
    let all = 0..parameters.len();
    match groups {
        1 => return Ok(vec![vec![all.collect()]]),
        2 => {}
        found => {
            let message = format!("expected one group, or one that decays and one that does not, found {found}");
            return Err(Error::bad(message).at("param_groups").help(NAMES_HELP));
        }
    }
    let part = |undecided: bool| -> Vec<Vec<usize>> {
        let (first, second) = all.clone().partition(|&place| decays(&parameters[place]).unwrap_or(undecided));
        vec![first, second]
    };
    let mut groupings = vec![part(false), part(true)];
    groupings.dedup();
    Ok(groupings)
}

/// The Trainer's rule (`Trainer.get_decay_parameter_names`), as far as a name tells: whether a vector is the gain of an
/// `nn.LayerNorm` is known by its class alone.
fn decays(parameter: &Parameter) -> Option<bool> {
    let name = parameter.name.to_lowercase();
    let anywhere = ["bias", "layernorm", "rmsnorm"].iter().any(|part| name.contains(part));
    if anywhere || name.split('.').any(|part| part == "norm" || part.ends_with("_norm")) {
        return Some(false);
    }
    (parameter.shape.len() > 1).then_some(true)
}

/// Gives each slot a parameter of its group.
fn fit(
    slots: &[Slot],
    grouping: &[Vec<usize>],
    parameters: &[Parameter],
    order: Order,
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut places = Vec::new();
    for (group, members) in grouping.iter().enumerate() {
        let own: Vec<&Slot> = slots.iter().filter(|slot| slot.group == group).collect();
        if own.len() != members.len() {
            let (wanted, found) = (members.len(), own.len());
            let message = format!("expected {wanted} parameters, as the model has in this group, found {found}");
            problems.push(Diagnostic::new(message).at(format!("param_groups.{group}.params")).help(NAMES_HELP));
            continue;
        }
        for (slot, &place) in own.iter().zip(members) {
            match order {
                Order::Module => {
                    problems.extend(shape_problem(slot, &parameters[place]));
                    places.push(place);
                }
                Order::Unknown => match of_shape(slot, members, parameters) {
                    Ok(place) => places.push(place),
                    Err(error) => problems.extend(error.into_diagnostics()),
                },
            }
        }
    }
    if problems.is_empty() { Ok(places) } else { Err(problems) }
}

/// The only parameter of the slot's shape.
fn of_shape(slot: &Slot, members: &[usize], parameters: &[Parameter]) -> Result<usize> {
    let bad = |message: String| Error::bad(message).at(place_of(slot)).help(NAMES_HELP);
    let Some(shape) = &slot.shape else { return Err(bad("expected moments that tell a shape, found none".to_owned())) };
    let candidates: Vec<usize> = members.iter().copied().filter(|&place| parameters[place].shape == *shape).collect();
    match candidates.as_slice() {
        &[place] => Ok(place),
        [] => Err(bad(format!("expected the shape of a parameter of the model, found {shape:?}"))),
        &[first, second, ..] => Err(bad(format!(
            "expected a shape {shape:?} that one parameter has, found it at {} and {}",
            parameters[first].name, parameters[second].name
        ))),
    }
}

fn shape_problem(slot: &Slot, parameter: &Parameter) -> Option<Diagnostic> {
    let found = slot.shape.as_ref().filter(|shape| **shape != parameter.shape)?;
    let (name, wanted) = (&parameter.name, &parameter.shape);
    let message = format!("expected moments of {name} with its shape {wanted:?}, found {found:?}");
    Some(Diagnostic::new(message).at(place_of(slot)))
}

fn place_of(slot: &Slot) -> String {
    format!("state.{}", slot.number)
}
