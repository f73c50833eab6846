//! Stores made of stores: sums for autocorrelations, and rows that were whitened by them.

use std::collections::BTreeMap;

use super::reader::{GradStore, ItemInfo, RowInfo};
use super::writer::{GradRow, GradWriter};
use crate::ckpt::Dtype;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::{Autocorrelation, Whitening};
use crate::kernels::{Kernels, RawTensor, View};
use crate::request::SiteValues;

/// Rows that are read and multiplied at once.
const BLOCK_BYTES: usize = 16 << 20;

impl GradStore {
    /// Autocorrelations of the rows, module by module, summed in the order of the rows. `each` is called with how many are
    /// done.
    ///
    /// # Errors
    /// Modules with too many columns; rows that are no numbers; an interrupt.
    pub fn autocorrelation(&self, each: &dyn Fn(u64)) -> Result<Autocorrelation> {
        let mut sums = Autocorrelation::new();
        for rows in self.blocks(BLOCK_BYTES) {
            go_on()?;
            let values = self.rows(rows.clone())?;
            for module in &self.layout().modules {
                let own = columns(&values, self.layout().dim(), module.columns());
                sums.add(&module.name, module.columns().len(), &own).map_err(|error| error.in_file(self.folder()))?;
            }
            each(rows.end);
        }
        Ok(sums)
    }
}

/// Appends the rows of a store that `out` has not yet, each module's columns times its matrix. `each` is called with how
/// many are done.
///
/// # Errors
/// A module without a matrix; an index of Bergson's, which does not say whose gradients it has; an interrupt.
pub fn whiten<K: Kernels>(
    store: &GradStore,
    by: &BTreeMap<String, Whitening>,
    kernels: &K,
    out: &mut GradWriter,
    each: &dyn Fn(u64),
) -> Result<()> {
    let layout = store.layout();
    let matrix = |module: &super::Module| {
        let width = module.columns().len();
        let own = by.get(&module.name).map(Whitening::matrix).filter(|own| own.dim == width);
        let own = own.ok_or_else(|| {
            Error::bad(format!("expected an autocorrelation of {width} columns, found none"))
                .at(format!("module {}", module.name))
        })?;
        let bytes = own.values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
        let raw = RawTensor { dtype: Dtype::F32, shape: vec![width, width], bytes };
        kernels.matrix(&kernels.raw(raw)?, View::Whole)
    };
    let matrices = layout.modules.iter().map(matrix).collect::<Result<Vec<K::Matrix>>>()?;
    let done = out.rows();
    // Rows of an item stay together, so they wait for the last of them.
    let mut item: Vec<(RowInfo, Vec<f32>)> = Vec::new();
    for rows in store.blocks(BLOCK_BYTES).filter(|rows| rows.end > done) {
        go_on()?;
        let rows = rows.start.max(done)..rows.end;
        let values = store.rows(rows.clone())?;
        let mut whitened = vec![0f32; values.len()];
        for (module, matrix) in layout.modules.iter().zip(&matrices) {
            let width = module.columns().len();
            let own = columns(&values, layout.dim(), module.columns());
            let x = kernels.array(SiteValues { shape: vec![own.len() / width, width], values: own })?;
            let product = kernels.host(&kernels.linear(&x, matrix, None)?)?.values;
            for (row, product) in whitened.chunks_mut(layout.dim()).zip(product.chunks(width)) {
                row[module.columns()].copy_from_slice(product);
            }
        }
        for (row, values) in rows.clone().zip(whitened.chunks(layout.dim())) {
            let info = store.info(row)?;
            if item.last().is_some_and(|(last, _)| last.id != info.id) {
                append(out, &std::mem::take(&mut item))?;
            }
            item.push((info, values.to_vec()));
        }
        each(rows.end);
    }
    append(out, &item)
}

/// All rows of an item.
fn append(out: &mut GradWriter, item: &[(RowInfo, Vec<f32>)]) -> Result<()> {
    let mut rows = Vec::with_capacity(item.len());
    for (info, values) in item {
        let ItemInfo { loss, n_tokens, position, .. } =
            info.item.ok_or_else(|| Error::internal("a row that nothing is known of"))?;
        rows.push(GradRow { id: info.id, loss, n_tokens, position, values });
    }
    out.append(&rows)
}

/// Some columns of rows, side by side.
fn columns(values: &[f32], dim: usize, columns: std::ops::Range<usize>) -> Vec<f32> {
    values.chunks(dim).flat_map(|row| row[columns.clone()].iter().copied()).collect()
}

fn go_on() -> Result<()> {
    if ctx::interrupted() {
        return Err(Error::new(ErrorKind::Incomplete, Diagnostic::new("interrupted")));
    }
    Ok(())
}
