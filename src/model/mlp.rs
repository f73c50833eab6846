//! The second half of a block: one MLP, or a mixture of experts.

use super::decoder::{Decoder, weight_and_bias};
use super::taps::Taps;
use super::weights::{BlockWeights, DenseWeights, MlpWeights};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::request::site::BlockSite;
use crate::request::{Site, SiteValues};

impl<K: Kernels> Decoder<K> {
    /// What the MLP adds to the residual, its norms included.
    pub(super) fn mlp(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        x: &K::Array,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let site = |site| Site::Block(layer, site);
        let x = taps.at(site(BlockSite::MlpIn), x.clone())?;
        let before = [site(BlockSite::Ln2Scale), site(BlockSite::Ln2Normalized)];
        let x = self.norm_where(x, block.mlp_norm.as_ref(), before, taps)?;
        let out = match &block.mlp {
            MlpWeights::Dense(weights) => self.dense(&x, weights, |inner, x| taps.at(site(inner), x))?,
            MlpWeights::Mixture { router, experts } => self.mixture(&x, router, experts)?,
        };
        let after = [site(BlockSite::Ln2PostScale), site(BlockSite::Ln2PostNormalized)];
        let out = self.norm_where(out, block.mlp_post_norm.as_ref(), after, taps)?;
        taps.at(site(BlockSite::MlpOut), out)
    }

    /// One MLP. `at` sees what is inside.
    fn dense(
        &self,
        x: &K::Array,
        weights: &DenseWeights<K::Matrix, K::Vector>,
        mut at: impl FnMut(BlockSite, K::Array) -> Result<K::Array>,
    ) -> Result<K::Array> {
        let (k, activation) = (&self.kernels, self.spec.mlp.activation);
        let hidden = match &weights.gate {
            Some(gate) => {
                let both = [weight_and_bias::<K>(gate), weight_and_bias::<K>(&weights.up)];
                let [gate, up] = two(k.linears(x, &both)?)?;
                let gate = at(BlockSite::MlpPre, gate)?;
                let up = at(BlockSite::MlpPreLinear, up)?;
                k.gated(gate, &up, activation)?
            }
            None => k.activate(at(BlockSite::MlpPre, self.linear(x, &weights.up)?)?, activation)?,
        };
        self.linear(&at(BlockSite::MlpPost, hidden)?, &weights.down)
    }

    /// The rows through the experts that each of them chooses, added up in the order of the experts.
    fn mixture(
        &self,
        x: &K::Array,
        router: &K::Matrix,
        experts: &[DenseWeights<K::Matrix, K::Vector>],
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let mixture = self.spec.mlp.mixture.as_ref().ok_or_else(|| Error::internal("experts without a mixture"))?;
        let probabilities = k.softmax(k.linear(x, router, None)?)?;
        let SiteValues { shape, values } = k.host(&probabilities)?;
        let chosen: Vec<Vec<usize>> = values.chunks(shape[1].max(1)).map(|row| largest(row, mixture.chosen)).collect();
        let mask =
            (0..shape[0] * shape[1]).map(|i| f32::from(chosen[i / shape[1]].contains(&(i % shape[1])))).collect();
        let mut weights = k.multiply(probabilities, &k.array(SiteValues { shape, values: mask })?)?;
        if mixture.normalised {
            weights = k.share(weights)?;
        }
        let mut out = k.scale(x.clone(), 0.0)?;
        for (index, expert) in experts.iter().enumerate() {
            let rows: Vec<usize> = (0..chosen.len()).filter(|&row| chosen[row].contains(&index)).collect();
            if !rows.is_empty() {
                let y = self.dense(&k.rows(x, &rows)?, expert, |_, x| Ok(x))?;
                out = k.add_rows(out, &rows, &y, &weights, index)?;
            }
        }
        Ok(out)
    }
}

/// Indices of the `count` largest, of equals the first.
fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

fn two<A>(arrays: Vec<A>) -> Result<[A; 2]> {
    arrays.try_into().map_err(|_| Error::internal("two products were asked for"))
}
