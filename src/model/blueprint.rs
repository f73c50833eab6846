//! Decoders of weights that are in memory: what a trainer makes anew after each of its steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decoder::Decoder;
use super::families::{Described, Family};
use super::leaves::Leaves;
use super::load::{Inspected, inspect};
use super::weights::{Convert, Source};
use crate::ckpt::{Address, Config, Dtype, widen};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, RawTensor};

/// A configuration that was read: everything of a decoder but the numbers.
pub struct Blueprint {
    described: Described,
    leaves: Leaves,
}

impl Blueprint {
    /// Reads a configuration as [`super::load`] does.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn of(config: &Config) -> Result<Self> {
        let described = Family::of(config)?.describe(config)?;
        let leaves = Leaves::of(&described.weights)?;
        Ok(Self { described, leaves })
    }

    /// A checkpoint's blueprint and its parameters in f32, by name and row-major.
    ///
    /// # Errors
    /// Everything that is wrong with configuration and tensors.
    pub fn open(checkpoint: &Address) -> Result<(Self, BTreeMap<String, Vec<f32>>)> {
        let Inspected { described, files, stored, .. } = inspect(checkpoint)?;
        let leaves = Leaves::of(&described.weights)?;
        let mut values = BTreeMap::new();
        for (wanted, name) in &stored {
            let dtype = files.get(name).and_then(|info| info.dtype);
            let dtype = dtype.ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
            values.insert(wanted.clone(), widen(dtype, &files.read_bytes(name)?));
        }
        Ok((Self { described, leaves }, values))
    }

    /// Names and shapes of the parameters, as a checkpoint stores them.
    pub fn parameters(&self) -> BTreeMap<String, Vec<usize>> {
        self.leaves.parameters().into_iter().map(|(name, (shape, _))| (name.to_owned(), shape.to_vec())).collect()
    }

    /// A decoder with these parameters: row-major values by name.
    ///
    /// # Errors
    /// A parameter that is missing or has another number of values.
    pub fn decoder<K: Kernels>(&self, kernels: K, values: &BTreeMap<String, Vec<f32>>) -> Result<Decoder<K>> {
        let mut raws = BTreeMap::new();
        for (name, shape) in self.parameters() {
            let wanted: usize = shape.iter().product();
            let own = values.get(&name).filter(|own| own.len() == wanted).ok_or_else(|| {
                let found = values.get(&name).map_or(0, Vec::len);
                Error::internal(format!("expected {wanted} values of {name}, found {found}"))
            })?;
            let bytes = own.iter().flat_map(|value| value.to_le_bytes()).collect();
            raws.insert(name, kernels.raw(RawTensor { dtype: Dtype::F32, shape, bytes })?);
        }
        let weights = self.described.weights.convert(&mut Cutter { kernels: &kernels, raws: &raws })?;
        let (spec, leaves) = (self.described.spec.clone(), self.leaves.clone());
        Ok(Decoder { kernels, spec, weights, leaves, raws: Vec::new(), live: Arc::default() })
    }
}

/// Cuts weights out of parameters that are all there.
struct Cutter<'a, K: Kernels> {
    kernels: &'a K,
    raws: &'a BTreeMap<String, K::Raw>,
}

impl<K: Kernels> Cutter<'_, K> {
    fn raw(&self, source: &Source) -> Result<&K::Raw> {
        self.raws.get(&source.name).ok_or_else(|| Error::internal(format!("no parameter {}", source.name)))
    }
}

impl<K: Kernels> Convert<Source, Source, K::Matrix, K::Vector> for Cutter<'_, K> {
    fn matrix(&mut self, source: &Source) -> Result<K::Matrix> {
        self.kernels.matrix(self.raw(source)?, source.view)
    }

    fn vector(&mut self, source: &Source) -> Result<K::Vector> {
        self.kernels.vector(self.raw(source)?, source.view)
    }
}
