//! From a checkpoint folder to a [`Decoder`]: check everything, then read, fingerprint and convert.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::decoder::Decoder;
use super::families::{Described, Family};
use super::weights::{Convert, Source, Weights};
use crate::ckpt::{Config, Dtype, WeightFiles};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::request::SiteValues;

/// A decoder and what is known about where it came from.
pub struct Loaded<K: Kernels> {
    pub decoder: Decoder<K>,
    /// `blake3:...` of weights, effective configuration and element types.
    pub fingerprint: String,
    /// The stored element types, as PyTorch names them.
    pub dtypes: Vec<&'static str>,
    pub parameters: usize,
}

/// Loads a checkpoint folder.
///
/// All problems of configuration and of tensor names, shapes and types are reported together before any weight is
/// read; NaN and infinite weights are refused, by tensor, unless `allow_nonfinite`. With `keep_raw` the stored tensors
/// stay reachable by name, for gradients.
pub fn load<K: Kernels>(folder: &Path, kernels: K, allow_nonfinite: bool, keep_raw: bool) -> Result<Loaded<K>> {
    let Inspected { described: Described { spec, weights }, files, stored } = inspect(folder)?;
    let mut hasher = blake3::Hasher::new();
    let spec_json = serde_json::to_vec(&spec).map_err(|e| Error::internal(format!("spec does not serialise: {e}")))?;
    hasher.update(&(spec_json.len() as u64).to_le_bytes());
    hasher.update(&spec_json);
    let mut raws = BTreeMap::new();
    let mut dtypes = BTreeSet::new();
    let mut problems = Vec::new();
    let mut parameters = 0;
    for (wanted, name) in &stored {
        let info = files.get(name).ok_or_else(|| Error::internal(format!("tensor {name} vanished")))?;
        let dtype = info.dtype.ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
        let bytes = files.read_bytes(name)?;
        hasher.update(format!("{wanted}\0{}\0{:?}\0", dtype.name(), info.shape).as_bytes());
        hasher.update(&bytes);
        let values = crate::ckpt::widen(dtype, &bytes);
        let strange = values.iter().filter(|value| !value.is_finite()).count();
        if strange > 0 && !allow_nonfinite {
            problems.push(
                Diagnostic::new(format!(
                    "expected finite weights, found {strange} NaN or infinite of {}",
                    values.len()
                ))
                .in_file(files.file_of(info))
                .at(format!("tensor {name}"))
                .help("the checkpoint is damaged or training diverged; `--allow-nonfinite` scores it all the same"),
            );
            continue;
        }
        parameters += values.len();
        dtypes.insert(dtype);
        raws.insert(wanted.clone(), kernels.raw(SiteValues { shape: info.shape.clone(), values })?);
    }
    Error::check(problems)?;

    let weights = weights.convert(&mut Viewer { kernels: &kernels, raws: &raws })?;
    let raws = if keep_raw { raws.into_iter().collect() } else { Vec::new() };
    Ok(Loaded {
        decoder: Decoder { kernels, spec, weights, raws },
        fingerprint: format!("blake3:{}", hasher.finalize().to_hex()),
        dtypes: dtypes.into_iter().map(Dtype::name).collect(),
        parameters,
    })
}

/// A folder whose configuration and headers are in order.
struct Inspected {
    described: Described,
    files: WeightFiles,
    /// Wanted name to stored name.
    stored: BTreeMap<String, String>,
}

fn inspect(folder: &Path) -> Result<Inspected> {
    let config = Config::read(folder)?;
    let family = Family::of(&config)?;
    let described = family.describe(&config)?;
    let files = WeightFiles::open(folder)?;
    let stored = check_names(family, &described.weights, &files, folder)?;
    Ok(Inspected { described, files, stored })
}

/// Whether a folder's configuration and tensor headers are in order; no weight is read.
pub fn check(folder: &Path) -> Result<()> {
    inspect(folder).map(|_| ())
}

/// Cuts weights out of stored tensors.
struct Viewer<'a, K: Kernels> {
    kernels: &'a K,
    raws: &'a BTreeMap<String, K::Raw>,
}

impl<K: Kernels> Viewer<'_, K> {
    fn raw(&self, source: &Source) -> Result<&K::Raw> {
        self.raws.get(&source.name).ok_or_else(|| Error::internal(format!("tensor {} was not read", source.name)))
    }
}

impl<K: Kernels> Convert<Source, Source, K::Matrix, K::Vector> for Viewer<'_, K> {
    fn matrix(&mut self, source: &Source) -> Result<K::Matrix> {
        self.kernels.matrix(self.raw(source)?, source.view)
    }

    fn vector(&mut self, source: &Source) -> Result<K::Vector> {
        self.kernels.vector(self.raw(source)?, source.view)
    }
}

/// Lists the tensors that a set of weights is cut from.
struct Lister(BTreeMap<String, Vec<usize>>);

impl Convert<Source, Source, (), ()> for Lister {
    fn matrix(&mut self, source: &Source) -> Result<()> {
        self.0.insert(source.name.clone(), source.shape.clone());
        Ok(())
    }

    fn vector(&mut self, source: &Source) -> Result<()> {
        self.matrix(source)
    }
}

/// Matches wanted names to stored ones (some checkpoints leave a prefix out) and reports what is missing, of another
/// shape or type, or not part of the model.
fn check_names(
    family: &Family,
    weights: &Weights<Source, Source>,
    files: &WeightFiles,
    folder: &Path,
) -> Result<BTreeMap<String, String>> {
    let mut lister = Lister(BTreeMap::new());
    weights.convert(&mut lister)?;
    let mut stored = BTreeMap::new();
    let mut problems = Vec::new();
    for (wanted, shape) in &lister.0 {
        let short = wanted.strip_prefix(family.optional_prefix).unwrap_or(wanted);
        let Some((name, info)) = [wanted.as_str(), short].into_iter().find_map(|name| Some((name, files.get(name)?)))
        else {
            problems.push(
                Diagnostic::new(format!("expected shape {shape:?}, found no such tensor"))
                    .in_file(folder)
                    .at(format!("tensor {wanted}")),
            );
            continue;
        };
        let place = |d: Diagnostic| d.in_file(files.file_of(info)).at(format!("tensor {name}"));
        if &info.shape != shape {
            problems.push(place(Diagnostic::new(format!(
                "expected shape {shape:?} as config.json says, found {:?}",
                info.shape
            ))));
        }
        if info.dtype.is_none() {
            problems.push(place(Diagnostic::new(format!("expected F32, F16 or BF16, found {}", info.dtype_name))));
        }
        stored.insert(wanted.clone(), name.to_owned());
    }
    let used: BTreeSet<&String> = stored.values().collect();
    let tied_copy = |name: &str| weights.head.is_none() && ["lm_head.weight", "embed_out.weight"].contains(&name);
    let known = |name: &str| family.buffers.iter().any(|end| name.ends_with(end)) || tied_copy(name);
    for (name, info) in files.tensors() {
        if !used.contains(name) && !known(name) {
            problems.push(
                Diagnostic::new(format!(
                    "expected only tensors of a {} model as config.json describes it, found this one besides",
                    family.model_type
                ))
                .in_file(files.file_of(info))
                .at(format!("tensor {name}")),
            );
        }
    }
    Error::check(problems)?;
    Ok(stored)
}
