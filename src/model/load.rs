//! From a checkpoint folder to a [`Decoder`]: check everything, then read, fingerprint and convert.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::decoder::Decoder;
use super::families::{Described, Family};
use super::laying::lay_on;
use super::leaves::Leaves;
use super::spec::DecoderSpec;
use super::weights::{Convert, Source, Weights};
use crate::ckpt::{Address, Config, Dtype, WeightFiles};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, RawTensor};

/// Tensors that are read before they are needed.
const READ_AHEAD: usize = 1;

/// A decoder and what is known about where it came from.
pub struct Loaded<K: Kernels> {
    pub decoder: Decoder<K>,
    /// `blake3:...` of weights, effective configuration and element types.
    pub fingerprint: String,
    /// The element types, as PyTorch or ggml names them; `Q6_K as float32` where blocks did not stay packed.
    pub dtypes: Vec<String>,
    pub parameters: usize,
}

/// What loading does besides reading.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Take NaN and infinite weights.
    pub allow_nonfinite: bool,
    /// Keep the stored tensors reachable by name, for gradients.
    pub keep_raw: bool,
}

/// Loads a checkpoint.
///
/// All problems of configuration and of tensor names, shapes and types are reported together before any weight is
/// read; NaN and infinite weights are refused, by tensor, unless they are allowed. One thread reads and hashes while
/// this one converts; each stored tensor is let go when it is converted.
pub fn load<K: Kernels>(checkpoint: impl Into<Address>, kernels: K, options: LoadOptions) -> Result<Loaded<K>> {
    let Inspected { described: Described { spec, weights }, files, stored, .. } = inspect(&checkpoint.into())?;
    let (uses, leaves) = (uses(&weights)?, Leaves::of(&weights)?);
    let (sender, receiver) = mpsc::sync_channel(READ_AHEAD);
    let (converted, checked) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_all(&files, &stored, &uses, options, sender));
        let left = uses.iter().map(|(name, uses)| (name.clone(), *uses)).collect();
        let mut converter = Converter { kernels: &kernels, incoming: receiver, open: BTreeMap::new(), left, options };
        let converted = weights.convert(&mut converter).map(|weights| (weights, std::mem::take(&mut converter.open)));
        // Without its receiver the reader only checks what is left.
        drop(converter);
        (converted, reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let checked = checked?;
    let (weights, raws) = converted?;
    let mut hasher = blake3::Hasher::new();
    let spec_json = serde_json::to_vec(&spec).map_err(|e| Error::internal(format!("spec does not serialise: {e}")))?;
    hasher.update(&(spec_json.len() as u64).to_le_bytes());
    hasher.update(&spec_json);
    for (wanted, tensor) in &checked {
        hasher.update(format!("{wanted}\0{}\0{:?}\0", tensor.dtype.name(), tensor.shape).as_bytes());
        hasher.update(tensor.hash.as_bytes());
    }
    let dtypes: BTreeSet<(Dtype, Option<&str>)> =
        checked.values().map(|tensor| (tensor.dtype, tensor.widened_from)).collect();
    let label = |(dtype, from): (Dtype, Option<&str>)| match from {
        Some(from) => format!("{from} as {}", dtype.name()),
        None => dtype.name().to_owned(),
    };
    let raws = raws.into_iter().collect();
    Ok(Loaded {
        decoder: Decoder { kernels, spec, weights, leaves, raws, live: Arc::default() },
        fingerprint: format!("blake3:{}", hasher.finalize().to_hex()),
        dtypes: dtypes.into_iter().map(label).collect(),
        parameters: checked.values().map(|tensor| tensor.shape.iter().product::<usize>()).sum(),
    })
}

/// A tensor that was read and found in order.
struct Checked {
    dtype: Dtype,
    widened_from: Option<&'static str>,
    shape: Vec<usize>,
    hash: blake3::Hash,
}

/// Reads, hashes and checks every tensor, and hands each to the converter.
fn read_all(
    files: &WeightFiles,
    stored: &BTreeMap<String, String>,
    uses: &[(String, usize)],
    options: LoadOptions,
    sender: mpsc::SyncSender<(String, RawTensor)>,
) -> Result<BTreeMap<String, Checked>> {
    let mut checked = BTreeMap::new();
    let mut problems = Vec::new();
    let mut wanted_still = true;
    for (wanted, _) in uses {
        let name = stored.get(wanted).ok_or_else(|| Error::internal(format!("tensor {wanted} was not checked")))?;
        let info = files.get(name).ok_or_else(|| Error::internal(format!("tensor {name} vanished")))?;
        let dtype = info.dtype.ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
        let bytes = files.read_bytes(name)?;
        let strange = if options.allow_nonfinite { 0 } else { dtype.count_nonfinite(&bytes) };
        if strange > 0 {
            problems.push(
                Diagnostic::new(format!(
                    "expected finite weights, found {strange} NaN or infinite of {}",
                    bytes.len() / dtype.size(dtype.block().0) * dtype.block().0
                ))
                .in_file(files.file_of(info))
                .at(format!("tensor {name}"))
                .help("the checkpoint is damaged or training diverged; `--allow-nonfinite` scores it all the same"),
            );
        }
        let (widened_from, shape, hash) = (info.widened_from, info.shape.clone(), blake3::hash(&bytes));
        checked.insert(wanted.clone(), Checked { dtype, widened_from, shape, hash });
        // After a problem the rest is only checked.
        wanted_still = wanted_still && problems.is_empty();
        if wanted_still {
            let tensor = RawTensor { dtype, shape: info.shape.clone(), bytes };
            wanted_still = sender.send((wanted.clone(), tensor)).is_ok();
        }
    }
    // Whoever waits for more need not.
    drop(sender);
    Error::check(problems)?;
    Ok(checked)
}

/// A checkpoint whose configuration and headers are in order.
pub(super) struct Inspected {
    /// As it is with whatever is laid on the base.
    pub config: Config,
    pub family: &'static Family,
    pub described: Described,
    pub files: WeightFiles,
    /// Wanted name to stored name.
    pub stored: BTreeMap<String, String>,
}

pub(super) fn inspect(checkpoint: &Address) -> Result<Inspected> {
    let config = Config::read(&checkpoint.base)?;
    let family = Family::of(&config)?;
    let described = family.describe(&config)?;
    let files = WeightFiles::open(&checkpoint.base)?;
    let stored = check_names(family, &described, &files, &checkpoint.base)?;
    let base = Inspected { config, family, described, files, stored };
    match &checkpoint.addition {
        None => Ok(base),
        Some(addition) => lay_on(base, addition),
    }
}

/// Bytes of a checkpoint's weights.
pub(super) struct Sizes {
    /// As the kernels keep them.
    pub kept: usize,
    /// As stored, for as many tensors as are held at once while reading.
    pub reading: usize,
}

/// The spec of a checkpoint and the sizes of its weights, from its headers.
pub(super) fn inspect_sizes<K: Kernels>(checkpoint: &Address) -> Result<(DecoderSpec, Sizes)> {
    /// Adds up what matrices take; vectors are small change.
    struct Adder<'a, K>(usize, &'a BTreeMap<String, Dtype>, std::marker::PhantomData<K>);
    impl<K: Kernels> Convert<Source, Source, (), ()> for Adder<'_, K> {
        fn matrix(&mut self, source: &Source) -> Result<()> {
            let [out, inner] = source.matrix_shape();
            self.0 += K::matrix_bytes(out, inner, self.1.get(&source.name).copied().unwrap_or(Dtype::F32));
            Ok(())
        }

        fn vector(&mut self, _: &Source) -> Result<()> {
            Ok(())
        }
    }
    let Inspected { described: Described { spec, weights }, files, stored, .. } = inspect(checkpoint)?;
    let info = |stored: &String| files.get(stored);
    let dtypes = stored.iter().filter_map(|(wanted, name)| Some((wanted.clone(), info(name)?.dtype?))).collect();
    let mut adder = Adder::<K>(0, &dtypes, std::marker::PhantomData);
    weights.convert(&mut adder)?;
    let mut bytes: Vec<usize> = stored.values().filter_map(|name| info(name)?.reading()).collect();
    bytes.sort_unstable();
    // One is being converted, one waits, one is being read.
    let reading = bytes.iter().rev().take(READ_AHEAD + 2).sum();
    Ok((spec, Sizes { kept: adder.0, reading }))
}

/// Whether a checkpoint's configuration and tensor headers are in order; no weight is read.
pub fn check(checkpoint: impl Into<Address>) -> Result<()> {
    inspect(&checkpoint.into()).map(|_| ())
}

/// Cuts weights out of stored tensors, which arrive in the order in which they are first used.
struct Converter<'a, K: Kernels> {
    kernels: &'a K,
    incoming: mpsc::Receiver<(String, RawTensor)>,
    /// Those that weights are still to be cut from, or, when they are to be kept, all that arrived.
    open: BTreeMap<String, K::Raw>,
    /// Weights that are still to be cut from each.
    left: BTreeMap<String, usize>,
    options: LoadOptions,
}

impl<K: Kernels> Converter<'_, K> {
    fn cut<T>(&mut self, source: &Source, cut: impl FnOnce(&K, &K::Raw) -> Result<T>) -> Result<T> {
        while !self.open.contains_key(&source.name) {
            let (name, tensor) = self.incoming.recv().map_err(|_| Error::internal("reading stopped early"))?;
            self.open.insert(name, self.kernels.raw(tensor)?);
        }
        let raw = self.open.get(&source.name).ok_or_else(|| Error::internal("a tensor that was just put there"))?;
        let result = cut(self.kernels, raw)?;
        let left = self.left.entry(source.name.clone()).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 && !self.options.keep_raw {
            self.open.remove(&source.name);
        }
        Ok(result)
    }
}

impl<K: Kernels> Convert<Source, Source, K::Matrix, K::Vector> for Converter<'_, K> {
    fn matrix(&mut self, source: &Source) -> Result<K::Matrix> {
        self.cut(source, |kernels, raw| kernels.matrix(raw, source.view))
    }

    fn vector(&mut self, source: &Source) -> Result<K::Vector> {
        self.cut(source, |kernels, raw| kernels.vector(raw, source.view))
    }
}

/// Lists the tensors that a set of weights is cut from, in the order in which they are used.
struct Lister(Vec<(String, Vec<usize>)>);

impl Convert<Source, Source, (), ()> for Lister {
    fn matrix(&mut self, source: &Source) -> Result<()> {
        self.0.push((source.name.clone(), source.shape.clone()));
        Ok(())
    }

    fn vector(&mut self, source: &Source) -> Result<()> {
        self.matrix(source)
    }
}

/// Tensors in the order of their first use, and how many weights are cut from each.
pub(super) fn uses(weights: &Weights<Source, Source>) -> Result<Vec<(String, usize)>> {
    let mut lister = Lister(Vec::new());
    weights.convert(&mut lister)?;
    let mut uses: Vec<(String, usize)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in lister.0 {
        let place = *places.entry(name.clone()).or_insert(uses.len());
        match uses.get_mut(place) {
            Some((_, uses)) => *uses += 1,
            None => uses.push((name, 1)),
        }
    }
    Ok(uses)
}

/// Matches wanted names to stored ones (some checkpoints leave a prefix out) and reports what is missing, of another
/// shape or type, or not part of the model.
pub(super) fn check_names(
    family: &Family,
    described: &Described,
    files: &WeightFiles,
    folder: &Path,
) -> Result<BTreeMap<String, String>> {
    let mut lister = Lister(Vec::new());
    described.weights.convert(&mut lister)?;
    let mut stored = BTreeMap::new();
    let mut problems = Vec::new();
    let wanted: BTreeMap<String, Vec<usize>> = lister.0.into_iter().collect();
    for (wanted, shape) in &wanted {
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
    let tied_copy = |name: &str| described.spec.tied_head && ["lm_head.weight", "embed_out.weight"].contains(&name);
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
