//! Autocorrelations of projected gradients, module by module, and their damped inverse: what takes out of gradients
//! the directions that all items share (TrackStar, TRAK).
//!
//! ```text
//! R = mean of x x^T       x -> R^-1/2 x  (both sides of a dot product)   or   R^-1 x  (one side)
//! ```
//! The file `precond.safetensors` keeps sums, not inverses, so that the damping can be chosen later:
//!
//! | tensor | what |
//! | --- | --- |
//! | `{module}.gram` | `[d, d]` float32, the sum of `x x^T` |
//! | `{module}.count` | `[]` int64, how many `x` |
//!
//! Its header says `schema = "veval.precond/1"`; what else the caller puts there stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::gram::{Gram, Symmetric};
use crate::ckpt::{TensorElement, TensorFile, TensorPlan, write_tensor_file};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

const SCHEMA: &str = "veval.precond/1";
const GRAM: &str = ".gram";
const COUNT: &str = ".count";
/// Of a module's projected gradient: decomposing a matrix takes time with the third power.
const MAX_DIM: usize = 8192;

/// Of each module, the sum of outer products.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Autocorrelation {
    modules: BTreeMap<String, Gram>,
}

impl Autocorrelation {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds projected gradients of a module, `[n, dim]`. The order of items is the order of additions.
    ///
    /// # Errors
    /// No whole vectors; another `dim` than before; a value that is no number.
    pub fn add(&mut self, module: &str, dim: usize, vectors: &[f32]) -> Result<()> {
        let bad = |message: String| Err(Error::bad(message).at(format!("module {module}")));
        if dim == 0 || dim > MAX_DIM || !vectors.len().is_multiple_of(dim) {
            let found = vectors.len();
            return bad(format!("expected vectors of 1 to {MAX_DIM} numbers each, found {found} numbers by {dim}"));
        }
        if let Some(at) = vectors.iter().position(|value| !value.is_finite()) {
            return bad(format!("expected finite gradients, found {} in vector {}", vectors[at], at / dim));
        }
        let gram = self.modules.entry(module.to_owned()).or_insert_with(|| Gram::new(dim));
        if gram.dim() != dim {
            return bad(format!("expected vectors of {} numbers, found {dim}", gram.dim()));
        }
        gram.add(vectors);
        Ok(())
    }

    pub fn modules(&self) -> &BTreeMap<String, Gram> {
        &self.modules
    }

    /// Adds what was accumulated elsewhere.
    ///
    /// # Errors
    /// Modules of another `dim`; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let shared = |name: &String, gram: &Gram| self.modules.get(name).is_none_or(|own| own.dim() == gram.dim());
        let differing = other.modules.iter().filter(|(name, gram)| !shared(name, gram));
        Error::check(differing.map(|(name, gram)| dims_differ(name, self.modules[name].dim(), gram.dim())).collect())?;
        for (name, gram) in &other.modules {
            self.modules.entry(name.clone()).or_insert_with(|| Gram::new(gram.dim())).merge(gram);
        }
        Ok(())
    }

    /// `R`, module by module.
    pub fn means(&self) -> BTreeMap<String, Symmetric> {
        self.modules.iter().map(|(name, gram)| (name.clone(), gram.mean())).collect()
    }

    /// `share` of the queries' `R` and the rest of the training items'.
    ///
    /// # Errors
    /// A share outside 0 to 1; other modules in one than in the other.
    pub fn mixed(share: f64, query: &Self, train: &Self) -> Result<BTreeMap<String, Symmetric>> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::bad(format!("expected a share of the queries between 0 and 1, found {share}")));
        }
        same_modules(query, train)?;
        let mix =
            |(name, gram): (&String, &Gram)| (name.clone(), gram.mean().mixed(share, &train.modules[name].mean()));
        Ok(query.modules.iter().map(mix).collect())
    }

    /// TrackStar's share of the queries: `s_train / (s_query + s_train)`, with `s` the `rank`-th largest eigenvalue of
    /// all modules together (its authors take 1000), so that the weighed spectra meet there.
    ///
    /// # Errors
    /// Other modules in one than in the other; fewer eigenvalues than `rank`; both zero.
    pub fn trackstar_share(query: &Self, train: &Self, rank: usize) -> Result<f64> {
        same_modules(query, train)?;
        let total: usize = query.modules.values().map(Gram::dim).sum();
        if rank == 0 || rank > total {
            return Err(Error::bad(format!("expected a rank between 1 and {total}, found {rank}")));
        }
        let ranked = |of: &Self| {
            let mut values: Vec<f64> =
                of.modules.values().flat_map(|gram| gram.mean().eigen().values).map(|value| value.max(0.0)).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            values[rank - 1]
        };
        let (query, train) = (ranked(query), ranked(train));
        if query + train <= 0.0 {
            return Err(Error::bad(format!("expected a spectrum above zero at rank {rank}, found none"))
                .help("choose a lower rank, or more items"));
        }
        Ok(train / (query + train))
    }

    /// Writes the sums with the caller's strings in the header.
    ///
    /// # Errors
    /// Sums beyond float32; what the disk says.
    pub fn write(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let mut metadata = metadata.clone();
        metadata.insert("schema".to_owned(), SCHEMA.to_owned());
        let plan = |name: String, element, shape| TensorPlan { name, element, shape };
        let tensors = self.modules.iter().flat_map(|(name, gram)| {
            let shape = vec![gram.dim(), gram.dim()];
            [
                plan(format!("{name}{GRAM}"), TensorElement::F32, shape),
                plan(format!("{name}{COUNT}"), TensorElement::I64, vec![]),
            ]
        });
        write_tensor_file(path, &metadata, tensors.collect(), |tensor| {
            if let Some(module) = tensor.name.strip_suffix(COUNT) {
                return Ok(self.modules[module].count().to_le_bytes().to_vec());
            }
            let module = tensor.name.strip_suffix(GRAM).unwrap_or_default();
            let sums: Vec<f32> = self.modules[module].sums().values.iter().map(|&sum| sum as f32).collect();
            if sums.iter().any(|sum| !sum.is_finite()) {
                return Err(Error::bad("expected sums within float32, found larger ones")
                    .at(format!("module {module}"))
                    .help("scale the gradients down"));
            }
            Ok(tensor.element.encode(&sums))
        })
    }

    /// Reads what was written, with all strings of the header.
    ///
    /// # Errors
    /// Another schema; tensors of other names, types or shapes; no numbers; asymmetric sums.
    pub fn read(path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let file = TensorFile::open(path)?;
        let found = file.metadata().get("schema").map_or("none", String::as_str);
        if found != SCHEMA {
            return Err(Error::bad(format!("expected the schema {SCHEMA}, found {found}")).in_file(path));
        }
        let mut problems = Vec::new();
        let mut this = Self::new();
        for name in file.tensors().keys() {
            if let Some(module) = name.strip_suffix(GRAM) {
                match read_gram(&file, module) {
                    Ok(gram) => drop(this.modules.insert(module.to_owned(), gram)),
                    Err(error) => problems.extend(error.in_file(path).into_diagnostics()),
                }
            } else if name.strip_suffix(COUNT).is_none_or(|of| !file.tensors().contains_key(&format!("{of}{GRAM}"))) {
                let message = format!("expected tensors M{GRAM} and M{COUNT} of each module M, found another name");
                problems.push(Diagnostic::new(message).at(format!("tensor {name}")).in_file(path));
            }
        }
        Error::check(problems)?;
        Ok((this, file.metadata().clone()))
    }
}

fn read_gram(file: &TensorFile, module: &str) -> Result<Gram> {
    let name = format!("{module}{GRAM}");
    let bad = |message: String| Error::bad(message).at(format!("tensor {name}"));
    let dim = match file.tensors()[&name].shape.as_slice() {
        &[rows, columns] if rows == columns && (1..=MAX_DIM).contains(&rows) => rows,
        other => return Err(bad(format!("expected a square matrix of 1 to {MAX_DIM} rows, found {other:?}"))),
    };
    let counts = file.read_integers(&format!("{module}{COUNT}"))?;
    let &[count] = counts.as_slice() else {
        return Err(bad(format!("expected one count, found {}", counts.len())));
    };
    let count = u64::try_from(count).map_err(|_| bad(format!("expected a count of at least 0, found {count}")))?;
    let sums = file.read_floats(&name)?;
    if let Some(at) = (0..sums.len()).find(|&at| !sums[at].is_finite() || sums[at] != sums[at % dim * dim + at / dim]) {
        let (row, column) = (at / dim, at % dim);
        return Err(bad(format!("expected a symmetric matrix of numbers, found {} at {row}, {column}", sums[at])));
    }
    Ok(Gram::from_sums(dim, count, sums.into_iter().map(f64::from).collect()))
}

fn same_modules(query: &Autocorrelation, train: &Autocorrelation) -> Result<()> {
    let names: BTreeSet<&String> = query.modules.keys().chain(train.modules.keys()).collect();
    let problem = |name: &String| match (query.modules.get(name), train.modules.get(name)) {
        (Some(one), Some(other)) if one.dim() == other.dim() => None,
        (Some(one), Some(other)) => Some(dims_differ(name, one.dim(), other.dim())),
        (query, _) => {
            let (has, lacks) =
                if query.is_some() { ("queries", "training items") } else { ("training items", "queries") };
            let message = format!("expected the same modules, found this one among the {has} and not the {lacks}");
            Some(Diagnostic::new(message).at(format!("module {name}")))
        }
    };
    Error::check(names.into_iter().filter_map(problem).collect())
}

fn dims_differ(module: &str, expected: usize, found: usize) -> Diagnostic {
    Diagnostic::new(format!("expected gradients of {expected} numbers, found {found}")).at(format!("module {module}"))
}

/// What is added to every eigenvalue before it is inverted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damping {
    /// This share of their mean; Bergson and kronfluence take 0.1.
    OfMean(f64),
    Absolute(f64),
}

impl Default for Damping {
    fn default() -> Self {
        Self::OfMean(0.1)
    }
}

/// Which power of the damped matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// -1: on one side of a dot product.
    Inverse,
    /// -1/2: on both.
    InverseRoot,
}

/// A damped inverse (root) of one module's `R`.
#[derive(Debug, Clone)]
pub struct Whitening {
    matrix: Symmetric,
}

impl Whitening {
    /// # Errors
    /// Negative damping; an eigenvalue of zero that is not damped.
    pub fn new(matrix: &Symmetric, damping: Damping, power: Power) -> Result<Self> {
        let added = match damping {
            Damping::OfMean(share) => share * matrix.mean_eigenvalue(),
            Damping::Absolute(value) => value,
        };
        let eigen = matrix.eigen();
        // `R` has none below zero; rounding has.
        let least = eigen.values.last().map_or(0.0, |value| value.max(0.0)) + added;
        let rounding = eigen.values.first().map_or(0.0, |value| value.abs()) * matrix.dim as f64 * f64::EPSILON;
        let usable = added >= 0.0 && least > rounding;
        if !usable && matrix.dim > 0 {
            return Err(Error::bad(format!(
                "expected damped eigenvalues well above zero, found {least} with a damping of {added}"
            ))
            .help("damp more, for example by 0.1 of the mean eigenvalue, or give gradients that are not all zero"));
        }
        let matrix = eigen.map(|value| {
            let damped = value.max(0.0) + added;
            match power {
                Power::Inverse => 1.0 / damped,
                Power::InverseRoot => 1.0 / damped.sqrt(),
            }
        });
        Ok(Self { matrix })
    }

    pub fn matrix(&self) -> &Symmetric {
        &self.matrix
    }

    /// Replaces each vector of `[n, dim]` by its product with the matrix, formed in f64.
    ///
    /// # Panics
    /// No whole vectors.
    pub fn apply(&self, vectors: &mut [f32]) {
        let dim = self.matrix.dim;
        if dim == 0 {
            return;
        }
        assert_eq!(vectors.len() % dim, 0, "vectors have {dim} numbers");
        let mut product = vec![0f64; dim];
        for vector in vectors.chunks_mut(dim) {
            product.fill(0.0);
            // By rows, which are columns as well.
            for (&value, row) in vector.iter().zip(self.matrix.values.chunks(dim)) {
                let value = f64::from(value);
                product.iter_mut().zip(row).for_each(|(sum, entry)| *sum += value * entry);
            }
            vector.iter_mut().zip(&product).for_each(|(value, &sum)| *value = sum as f32);
        }
    }
}

#[cfg(test)]
#[path = "tests_autocorrelation.rs"]
mod tests;
