//! Moments in a safetensors file, under the names of their parameters.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Optimizer, Parameter, SecondNames, factored_shape};
use crate::ckpt::TensorFile;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

const SCHEMA: &str = "veval.moments/1";

pub(super) fn entries(file: &TensorFile, parameters: &[Parameter]) -> Result<BTreeMap<String, Entry>> {
    let found = file.metadata().get("schema").map_or("none", String::as_str);
    if found != SCHEMA {
        return Err(Error::bad(format!("expected the schema {SCHEMA}, found {found}")));
    }
    let mut problems = Vec::new();
    let header = header(file).map_err(|mut own| problems.append(&mut own)).ok();
    let mut used = BTreeSet::new();
    let mut entries = BTreeMap::new();
    for parameter in parameters {
        match (names(file, parameter, &mut used), header) {
            (Err(error), _) => problems.extend(error.into_diagnostics()),
            (Ok((second, first)), Some((optimizer, step))) => {
                if let Err(message) = second.fit(optimizer) {
                    problems.push(Diagnostic::new(message).at(format!("parameter {}", parameter.name)));
                }
                let entry = Entry { optimizer, shape: parameter.shape.clone(), step, second, first };
                entries.insert(parameter.name.clone(), entry);
            }
            (Ok(_), None) => {}
        }
    }
    problems.extend(file.tensors().keys().filter(|name| !used.contains(*name)).map(|name| {
        Diagnostic::new("expected moments of a parameter of the model, found another name").at(format!("tensor {name}"))
    }));
    Error::check(problems)?;
    Ok(entries)
}

/// The optimizer and its step.
fn header(file: &TensorFile) -> Result<(Optimizer, u64), Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut number = |key: &str| {
        let text = file.metadata().get(key).map_or("none", String::as_str);
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        if value.is_none() {
            let message = format!("expected a number under `{key}` of the header, found {text}");
            problems.push(Diagnostic::new(message));
        }
        value
    };
    let step = number("step");
    let optimizer = match file.metadata().get("optimizer").map_or("none", String::as_str) {
        "adafactor" => Some(Ok(Optimizer::Adafactor)),
        "adam" => match (number("beta1"), number("beta2"), number("eps")) {
            (Some(beta1), Some(beta2), Some(eps)) => Some(Optimizer::adam(beta1, beta2, eps)),
            _ => None,
        },
        other => Some(Err(format!("expected the optimizer adam or adafactor in the header, found {other}"))),
    };
    if let Some(step) = step.filter(|step| *step < 1.0 || step.fract() != 0.0) {
        problems.push(Diagnostic::new(format!("expected a whole step of at least 1, found {step}")));
    }
    match (optimizer, step) {
        (Some(Ok(optimizer)), Some(step)) if problems.is_empty() => Ok((optimizer, step as u64)),
        (Some(Err(message)), _) => {
            problems.push(Diagnostic::new(message));
            Err(problems)
        }
        _ => Err(problems),
    }
}

/// Names of the second and first moments, whose shapes are right.
fn names(
    file: &TensorFile,
    parameter: &Parameter,
    used: &mut BTreeSet<String>,
) -> Result<(SecondNames, Option<String>)> {
    let Parameter { name, shape } = parameter;
    let bad = |message: String| Err(Error::bad(message).at(format!("parameter {name}")));
    let mut tensor = |prefix: &str| {
        let tensor = format!("{prefix}.{name}");
        let shape = file.tensors().get(&tensor)?.shape.clone();
        used.insert(tensor.clone());
        Some((tensor, shape))
    };
    let (second, found) = match (tensor("exp_avg_sq"), tensor("exp_avg_sq_row"), tensor("exp_avg_sq_col")) {
        (Some((all, shape)), None, None) => (SecondNames::Full(all), Some(shape)),
        (None, Some((rows, row_shape)), Some((columns, column_shape))) => {
            (SecondNames::Factored { rows, columns }, factored_shape(&row_shape, &column_shape))
        }
        _ => return bad("expected exp_avg_sq, or exp_avg_sq_row and exp_avg_sq_col, found neither or both".to_owned()),
    };
    if found.as_ref() != Some(shape) {
        let found = found.map_or("means that are of no one matrix".to_owned(), |found| format!("{found:?}"));
        return bad(format!("expected second moments of the parameter's shape {shape:?}, found {found}"));
    }
    match tensor("exp_avg") {
        Some((_, found)) if found != *shape => {
            bad(format!("expected first moments of the parameter's shape {shape:?}, found {found:?}"))
        }
        first => Ok((second, first.map(|(tensor, _)| tensor))),
    }
}
