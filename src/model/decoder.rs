//! The forward pass.
//!
//! ```text
//!          ┌─ ln1 ─ q,k,v ─ rotary ─ scores ─ softmax ─ z ─ o ─┐         ┌─ ln2 ─ gate,up ─ act ─ down ─┐
//! resid ───┴───────────────────────────────────────────────── + ─ mid ───┴───────────────────────────── + ─ post
//! ```
//! In a parallel block both branches read `resid_pre` and are added together. Every named site is one call of
//! [`Taps::at`]; where nothing is wanted that call returns its argument.

use super::spec::{BlockOrder, DecoderSpec, Positions};
use super::taps::{self, Taps};
use super::weights::{BlockWeights, Linear, NormWeights, Weights};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, NormKind, RotaryRows};
use crate::request::site::BlockSite;
use crate::request::{Edit, ScoredToken, Site, SiteValues};

/// Rows of logits held at once while scoring, which bounds memory at `64 * vocab` values.
const LOGIT_ROWS: usize = 64;

/// A model ready to run.
pub struct Decoder<K: Kernels> {
    pub(crate) kernels: K,
    pub(crate) spec: DecoderSpec,
    pub(crate) weights: Weights<K::Matrix, K::Vector>,
    /// Stored tensors by name, kept when gradients are wanted.
    pub(crate) raws: Vec<(String, K::Raw)>,
}

/// Keys and values of the positions so far.
pub struct Cache<K: Kernels> {
    layers: Vec<Option<(K::Array, K::Array)>>,
    length: usize,
}

// Not derived: that would ask `K` itself to be `Clone`.
impl<K: Kernels> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { layers: self.layers.clone(), length: self.length }
    }
}

impl<K: Kernels> Cache<K> {
    /// Positions held.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// The residual stream as the query, key and value projections read it: once for all heads, or once for each.
enum Projected<A> {
    Shared(A),
    PerHead { query: A, key: A, value: A },
}

impl<K: Kernels> Decoder<K> {
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    pub fn kernels(&self) -> &K {
        &self.kernels
    }

    pub fn empty_cache(&self) -> Cache<K> {
        Cache { layers: (0..self.spec.layers).map(|_| None).collect(), length: 0 }
    }

    /// Refuses sites and edits that this decoder cannot serve.
    pub fn check_sites(&self, captures: &[Site], edits: &[Edit]) -> Result<()> {
        taps::check(&self.spec, captures, edits)
    }

    /// Runs `tokens` after the positions in `cache` and appends to it. Returns the normalised residual `[S, width]`
    /// that the head reads.
    ///
    /// # Errors
    /// Token ids outside the vocabulary, and positions outside a learned table.
    pub fn forward(&self, tokens: &[u32], cache: &mut Cache<K>, taps: &mut Taps<'_, K>) -> Result<K::Array> {
        let k = &self.kernels;
        let (first, rows) = (cache.length, tokens.len());
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= self.spec.vocab) {
            return Err(Error::bad(format!("expected token ids below {}, found {token}", self.spec.vocab)));
        }
        let mut x = taps.at(Site::Embed, k.embed(&self.weights.embedding, tokens)?)?;
        let rotary = match &self.spec.positions {
            Positions::Learned { rows: table } => {
                if first + rows > *table {
                    return Err(Error::bad(format!("expected at most {table} positions, found {}", first + rows)));
                }
                let ids: Vec<u32> = (first..first + rows).map(|position| position as u32).collect();
                let table = self
                    .weights
                    .positions
                    .as_ref()
                    .ok_or_else(|| Error::internal("learned positions without a table"))?;
                x = k.add(&x, &taps.at(Site::PosEmbed, k.embed(table, &ids)?)?)?;
                None
            }
            Positions::Rotary(spec) => Some(spec.rows(first, rows)),
        };
        for (layer, block) in self.weights.blocks.iter().enumerate() {
            x = self.block(layer, block, x, rotary.as_ref(), &mut cache.layers[layer], taps)?;
        }
        cache.length += rows;
        self.norm(&x, &self.weights.final_norm, Site::FinalScale, Site::FinalNormalized, taps)
    }

    fn block(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        x: K::Array,
        rotary: Option<&RotaryRows>,
        cache: &mut Option<(K::Array, K::Array)>,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let site = |site| Site::Block(layer, site);
        let x = taps.at(site(BlockSite::ResidPre), x)?;
        let attention = self.attention(layer, block, &x, rotary, cache, taps)?;
        let post = match self.spec.order {
            BlockOrder::Serial => {
                let mid = taps.at(site(BlockSite::ResidMid), k.add(&x, &attention)?)?;
                let mlp = self.mlp(layer, block, &mid, taps)?;
                k.add(&mid, &mlp)?
            }
            BlockOrder::Parallel => {
                let mlp = self.mlp(layer, block, &x, taps)?;
                k.add(&k.add(&mlp, &attention)?, &x)?
            }
        };
        taps.at(site(BlockSite::ResidPost), post)
    }

    fn attention(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        x: &K::Array,
        rotary: Option<&RotaryRows>,
        cache: &mut Option<(K::Array, K::Array)>,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let weights = &block.attention;
        let site = |site| Site::Block(layer, site);
        let input = self.attention_input(layer, block, x, taps)?;
        let (q_in, k_in, v_in) = match &input {
            Projected::Shared(x) => (x, x, x),
            Projected::PerHead { query, key, value } => (query, key, value),
        };
        let (heads, kv_heads) = (self.spec.heads, self.spec.kv_heads);
        let q = taps.at(site(BlockSite::Q), self.project(q_in, &block.attention_norm, &weights.query, heads)?)?;
        let key = taps.at(site(BlockSite::K), self.project(k_in, &block.attention_norm, &weights.key, kv_heads)?)?;
        let value =
            taps.at(site(BlockSite::V), self.project(v_in, &block.attention_norm, &weights.value, kv_heads)?)?;
        let (q, key) = match rotary {
            Some(rows) => (
                taps.at(site(BlockSite::RotQ), k.rotate(&q, rows)?)?,
                taps.at(site(BlockSite::RotK), k.rotate(&key, rows)?)?,
            ),
            None => (q, key),
        };
        let key = k.append(cache.as_ref().map(|(key, _)| key), &key)?;
        let value = k.append(cache.as_ref().map(|(_, value)| value), &value)?;
        let scale = self.spec.attention_scale[layer];
        let z = if taps.wants(site(BlockSite::AttnScores)) || taps.wants(site(BlockSite::Pattern)) {
            let scores = taps.at(site(BlockSite::AttnScores), k.attention_scores(&q, &key, scale)?)?;
            let pattern = taps.at(site(BlockSite::Pattern), k.softmax(&scores)?)?;
            k.attention_mix(&pattern, &value)?
        } else {
            k.attention(&q, &key, &value, scale)?
        };
        let z = taps.at(site(BlockSite::Z), z)?;
        *cache = Some((key, value));
        let mut out = self.linear(&k.merge_heads(&z)?, &weights.output)?;
        if taps.wants(site(BlockSite::Result)) {
            let before = k.head_results(&z, &weights.output.weight)?;
            let after = taps.at(site(BlockSite::Result), before.clone())?;
            if taps.edits(site(BlockSite::Result)) {
                // Only what the edit changed is added, so that an edit that changes nothing leaves the bits alone.
                out = k.add(&out, &k.sum_heads(&k.subtract(&after, &before)?)?)?;
            }
        }
        taps.at(site(BlockSite::AttnOut), out)
    }

    /// The normalised residual, or, when a per-head input is wanted, the residual itself, one copy per head.
    fn attention_input(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        x: &K::Array,
        taps: &mut Taps<'_, K>,
    ) -> Result<Projected<K::Array>> {
        let k = &self.kernels;
        let site = |site| Site::Block(layer, site);
        let shared = |this: &Self, taps: &mut Taps<'_, K>| {
            this.norm(x, &block.attention_norm, site(BlockSite::Ln1Scale), site(BlockSite::Ln1Normalized), taps)
        };
        let inputs = [BlockSite::AttnIn, BlockSite::QInput, BlockSite::KInput, BlockSite::VInput];
        if !inputs.iter().any(|&input| taps.wants(site(input))) {
            return Ok(Projected::Shared(shared(self, taps)?));
        }
        shared(self, taps)?;
        let (heads, kv_heads) = (self.spec.heads, self.spec.kv_heads);
        let copies = |heads| k.repeat_for_heads(x, heads);
        let (query, key, value) = if taps.wants(site(BlockSite::AttnIn)) {
            let all = taps.at(site(BlockSite::AttnIn), copies(heads)?)?;
            (all.clone(), all.clone(), all)
        } else {
            (copies(heads)?, copies(kv_heads)?, copies(kv_heads)?)
        };
        Ok(Projected::PerHead {
            query: taps.at(site(BlockSite::QInput), query)?,
            key: taps.at(site(BlockSite::KInput), key)?,
            value: taps.at(site(BlockSite::VInput), value)?,
        })
    }

    /// `[S, D]` through a projection, or `[S, heads, D]` through the norm and each head's share of it. The latter
    /// computes the whole projection for every head and keeps one head of it: slow, and equal to the bit.
    fn project(
        &self,
        x: &K::Array,
        norm: &NormWeights<K::Vector>,
        linear: &Linear<K::Matrix, K::Vector>,
        heads: usize,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        if k.shape(x).len() == 2 {
            return k.split_heads(&self.linear(x, linear)?, heads);
        }
        let parts = (0..heads).map(|head| {
            let normed = self.norm_untapped(&k.head(x, head)?, norm)?;
            k.head(&k.split_heads(&self.linear(&normed, linear)?, heads)?, head)
        });
        k.stack_heads(&parts.collect::<Result<Vec<_>>>()?)
    }

    fn mlp(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        x: &K::Array,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let site = |site| Site::Block(layer, site);
        let x = taps.at(site(BlockSite::MlpIn), x.clone())?;
        let x = self.norm(&x, &block.mlp_norm, site(BlockSite::Ln2Scale), site(BlockSite::Ln2Normalized), taps)?;
        let activation = self.spec.mlp.activation;
        let hidden = match &block.mlp.gate {
            Some(gate) => {
                let gate = taps.at(site(BlockSite::MlpPre), self.linear(&x, gate)?)?;
                let up = taps.at(site(BlockSite::MlpPreLinear), self.linear(&x, &block.mlp.up)?)?;
                k.multiply(&k.activate(&gate, activation)?, &up)?
            }
            None => k.activate(&taps.at(site(BlockSite::MlpPre), self.linear(&x, &block.mlp.up)?)?, activation)?,
        };
        let hidden = taps.at(site(BlockSite::MlpPost), hidden)?;
        taps.at(site(BlockSite::MlpOut), self.linear(&hidden, &block.mlp.down)?)
    }

    fn linear(&self, x: &K::Array, linear: &Linear<K::Matrix, K::Vector>) -> Result<K::Array> {
        self.kernels.linear(x, &linear.weight, linear.bias.as_ref())
    }

    fn norm(
        &self,
        x: &K::Array,
        weights: &NormWeights<K::Vector>,
        scale_site: Site,
        out_site: Site,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let (x, scale) = self.norm_parts(x)?;
        let scale = taps.at(scale_site, scale)?;
        taps.at(out_site, k.norm_apply(&x, &scale, &weights.gain, weights.bias.as_ref())?)
    }

    fn norm_untapped(&self, x: &K::Array, weights: &NormWeights<K::Vector>) -> Result<K::Array> {
        let (x, scale) = self.norm_parts(x)?;
        self.kernels.norm_apply(&x, &scale, &weights.gain, weights.bias.as_ref())
    }

    fn norm_parts(&self, x: &K::Array) -> Result<(K::Array, K::Array)> {
        let k = &self.kernels;
        let x = match self.spec.norm.kind {
            NormKind::Layer => k.centre(x)?,
            NormKind::Rms => x.clone(),
        };
        let scale = k.norm_scale(&x, self.spec.norm.eps)?;
        Ok((x, scale))
    }

    /// Logits `[rows, vocab]` of these rows of a normalised residual.
    pub fn logits(&self, hidden: &K::Array, rows: &[usize]) -> Result<K::Array> {
        let x = self.kernels.rows(hidden, rows)?;
        match &self.weights.head {
            Some(head) => self.linear(&x, head),
            None => self.kernels.linear(&x, &self.weights.embedding, None),
        }
    }

    /// Log-probabilities of targets: `(row, target)` pairs in, one score for each out. Every row's logits are computed
    /// once, however many targets it has.
    pub fn score(&self, hidden: &K::Array, wanted: &[(usize, u32)]) -> Result<Vec<ScoredToken>> {
        let mut rows: Vec<usize> = wanted.iter().map(|(row, _)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut scored = vec![ScoredToken { log_prob: 0.0, greedy: false }; wanted.len()];
        for chunk in rows.chunks(LOGIT_ROWS) {
            let logits = self.host_logits(hidden, chunk)?.values;
            let distributions: Vec<Distribution<'_>> =
                logits.chunks_exact(self.spec.vocab).map(Distribution::new).collect();
            for ((row, target), scored) in wanted.iter().zip(&mut scored) {
                if let Ok(index) = chunk.binary_search(row) {
                    *scored = distributions[index].score(*target);
                }
            }
        }
        Ok(scored)
    }

    /// [`Self::logits`], as plain numbers.
    pub fn host_logits(&self, hidden: &K::Array, rows: &[usize]) -> Result<SiteValues> {
        self.kernels.host(&self.logits(hidden, rows)?)
    }
}

/// The log-softmax of one row: differences and the sum of exponentials in f64, results in f32.
struct Distribution<'a> {
    logits: &'a [f32],
    best: usize,
    log_sum: f64,
}

impl<'a> Distribution<'a> {
    fn new(logits: &'a [f32]) -> Self {
        let best = first_largest(logits);
        let max = f64::from(logits[best]);
        let log_sum = max + logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum::<f64>().ln();
        Self { logits, best, log_sum }
    }

    fn score(&self, target: u32) -> ScoredToken {
        let log_prob = (f64::from(self.logits[target as usize]) - self.log_sum) as f32;
        ScoredToken { log_prob, greedy: self.best == target as usize }
    }
}

/// The log-probability of one token under a row of logits.
pub(crate) fn score_token(logits: &[f32], target: u32) -> ScoredToken {
    Distribution::new(logits).score(target)
}

/// Index of the first largest value.
pub(crate) fn first_largest(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (index, value)| if *value > values[best] { index } else { best })
}
