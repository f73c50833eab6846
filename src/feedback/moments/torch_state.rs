//! A state dict of `torch.optim`: groups of numbered parameters and a state for each number.

use std::collections::{BTreeMap, BTreeSet};

use super::mapping::{Order, Slot, assign};
use super::{Entry, Optimizer, Parameter, SecondNames, factored_shape};
use crate::ckpt::{Dtype, TorchDtype, TorchFile, TorchScalar, TorchTensor, widen};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// What stands in one of `param_groups`.
#[derive(Debug, Default)]
struct Group {
    /// Numbers, and perhaps names, by position.
    params: BTreeMap<u64, u64>,
    names: BTreeMap<u64, String>,
    betas: [Option<f64>; 2],
    eps: Option<f64>,
    /// Transformers' Adafactor alone has `relative_step`.
    adafactor: bool,
}

/// Tensors of each state, by number and key.
type States<'a> = BTreeMap<u64, BTreeMap<&'a str, &'a TorchTensor>>;

pub(super) fn entries(file: &TorchFile, parameters: &[Parameter], order: Order) -> Result<BTreeMap<String, Entry>> {
    let groups = groups(file);
    let states = states(file);
    let mut problems = Vec::new();
    let (mut slots, mut found) = (Vec::new(), Vec::new());
    let mut numbers = BTreeSet::new();
    for (place, group) in groups.values().enumerate() {
        let optimizer = optimizer(group);
        if let Err(message) = &optimizer {
            problems.push(Diagnostic::new(message).at(format!("param_groups.{place}")));
        }
        for (position, &number) in &group.params {
            if !numbers.insert(number) {
                let message = format!("expected each parameter in one group, found {number} twice");
                problems.push(Diagnostic::new(message).at(format!("param_groups.{place}.params.{position}")));
            }
            let entry = entry(file, number, states.get(&number));
            let name = group.names.get(position).cloned();
            let shape = entry.as_ref().ok().map(|entry| entry.shape.clone());
            slots.push(Slot { number, group: place, name, shape });
            match (entry, &optimizer) {
                (Ok(entry), &Ok(optimizer)) => {
                    if let Err(message) = entry.second.fit(optimizer) {
                        problems.push(Diagnostic::new(message).at(format!("state.{number}")));
                    }
                    found.push(Entry { optimizer, ..entry });
                }
                (Ok(_), Err(_)) => {}
                (Err(error), _) => problems.extend(error.into_diagnostics()),
            }
        }
    }
    if slots.is_empty() {
        problems.push(Diagnostic::new("expected `param_groups` with numbers of parameters, found none").help(
            "give the state dict of the optimizer itself, as torch.save(optimizer.state_dict(), path) writes it",
        ));
    } else if slots.iter().any(|slot| slot.name.is_some()) && slots.iter().any(|slot| slot.name.is_none()) {
        problems.push(Diagnostic::new("expected a name of every parameter or of none, found some").at("param_groups"));
    }
    let stray = states.keys().filter(|number| !numbers.contains(number));
    problems.extend(stray.map(|number| {
        Diagnostic::new("expected the state of a parameter in a group, found one in none").at(format!("state.{number}"))
    }));
    Error::check(problems)?;
    let places = assign(&slots, groups.len(), parameters, order)?;
    Ok(places.into_iter().map(|place| parameters[place].name.clone()).zip(found).collect())
}

fn groups(file: &TorchFile) -> BTreeMap<u64, Group> {
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for (path, value) in file.scalars() {
        let Some((number, key)) = path.strip_prefix("param_groups.").and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let group = groups.entry(number).or_default();
        let (key, position) = match key.split_once('.') {
            None => (key, None),
            Some((key, position)) => (key, position.parse::<u64>().ok()),
        };
        match (key, position, value) {
            ("params", Some(position), &TorchScalar::Int(number)) if number >= 0 => {
                group.params.insert(position, number as u64);
            }
            ("param_names", Some(position), TorchScalar::Text(name)) => {
                group.names.insert(position, name.clone());
            }
            ("betas", Some(position @ 0..2), value) => group.betas[position as usize] = number_of(value),
            ("eps", None, value) => group.eps = number_of(value),
            ("relative_step", None, _) => group.adafactor = true,
            _ => {}
        }
    }
    groups
}

fn number_of(value: &TorchScalar) -> Option<f64> {
    match *value {
        TorchScalar::Float(value) => Some(value),
        TorchScalar::Int(value) => Some(value as f64),
        _ => None,
    }
}

fn optimizer(group: &Group) -> Result<Optimizer, String> {
    match (group.betas, group.eps, group.adafactor) {
        ([Some(beta1), Some(beta2)], Some(eps), false) => Optimizer::adam(beta1, beta2, eps),
        ([None, None], _, true) => Ok(Optimizer::Adafactor),
        _ => {
            Err("expected `betas` and `eps` of Adam, or `relative_step` of transformers' Adafactor, found neither"
                .into())
        }
    }
}

fn states(file: &TorchFile) -> States<'_> {
    let mut states: States = BTreeMap::new();
    for (path, tensor) in file.tensors() {
        let parts = path.strip_prefix("state.").and_then(|rest| rest.split_once('.'));
        if let Some((number, key)) = parts
            && let Ok(number) = number.parse()
        {
            states.entry(number).or_default().insert(key, tensor);
        }
    }
    states
}

/// Where the moments of a number lie; its optimizer is the group's.
fn entry(file: &TorchFile, number: u64, state: Option<&BTreeMap<&str, &TorchTensor>>) -> Result<Entry> {
    let bad = |message: String| Error::bad(message).at(format!("state.{number}"));
    let Some(state) = state else {
        return Err(bad("expected moments of the parameter, found no state: it was never updated".to_owned()));
    };
    let name = |key: &str| format!("state.{number}.{key}");
    let shape = |key: &str| state.get(key).map(|tensor| tensor.shape.clone());
    // With `amsgrad` the largest of all second moments divides.
    let full = ["max_exp_avg_sq", "exp_avg_sq"].into_iter().find(|key| state.contains_key(key));
    let (shape, second) = match (full, shape("exp_avg_sq_row"), shape("exp_avg_sq_col")) {
        (Some(key), None, None) => (state[key].shape.clone(), SecondNames::Full(name(key))),
        (None, Some(rows), Some(columns)) => {
            let shape = factored_shape(&rows, &columns).ok_or_else(|| {
                bad(format!("expected means over columns and rows of one matrix, found {rows:?} and {columns:?}"))
            })?;
            (shape, SecondNames::Factored { rows: name("exp_avg_sq_row"), columns: name("exp_avg_sq_col") })
        }
        _ => {
            let keys: Vec<&str> = state.keys().copied().collect();
            let message = format!(
                "expected exp_avg_sq, or exp_avg_sq_row and exp_avg_sq_col, found {}",
                if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
            );
            return Err(bad(message).help("moments of torch's Adam and AdamW and of transformers' Adafactor are read"));
        }
    };
    let first = state.get("exp_avg").map(|tensor| {
        if tensor.shape != shape {
            let found = &tensor.shape;
            return Err(bad(format!("expected exp_avg of the shape {shape:?} of the second moments, found {found:?}")));
        }
        Ok(name("exp_avg"))
    });
    let first = first.transpose()?;
    Ok(Entry { optimizer: Optimizer::Adafactor, shape, step: step(file, &name("step")).map_err(bad)?, second, first })
}

/// A number, or a tensor of one since PyTorch 1.12.
fn step(file: &TorchFile, name: &str) -> Result<u64, String> {
    let value = match (file.scalars().get(name), file.get(name)) {
        (Some(value), _) => number_of(value),
        (None, Some(tensor)) if tensor.elements() == 1 => match tensor.dtype {
            TorchDtype::I64 => {
                let bytes = file.read(name).map_err(|e| e.to_string())?;
                bytes.as_array().map(|bytes| i64::from_le_bytes(*bytes) as f64)
            }
            _ => floats(file, name).map_err(|e| e.to_string())?.first().copied().map(f64::from),
        },
        _ => None,
    };
    match value {
        Some(value) if (1.0..=9e15).contains(&value) && value.fract() == 0.0 => Ok(value as u64),
        Some(value) => Err(format!("expected a step of at least 1, found {value}")),
        None => Err("expected a step, found none".to_owned()),
    }
}

/// Floats of a tensor, widened.
pub(super) fn floats(file: &TorchFile, name: &str) -> Result<Vec<f32>> {
    let bad = |message: String| Error::bad(message).at(format!("tensor {name}"));
    let tensor = file.get(name).ok_or_else(|| bad("expected a tensor of this name, found none".to_owned()))?;
    let dtype = match tensor.dtype {
        TorchDtype::F32 => Dtype::F32,
        TorchDtype::F16 => Dtype::F16,
        TorchDtype::Bf16 => Dtype::Bf16,
        other => return Err(bad(format!("expected float32, float16 or bfloat16, found {}", other.name()))),
    };
    Ok(widen(dtype, &file.read(name).map_err(|e| Error::bad(e.message).at(e.at))?))
}
