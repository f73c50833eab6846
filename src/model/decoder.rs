//! The forward pass.
//!
//! ```text
//!          ┌─ ln1 ─ q,k,v ─ rotary ─ scores ─ softmax ─ z ─ o ─┐         ┌─ ln2 ─ gate,up ─ act ─ down ─┐
//! resid ───┴───────────────────────────────────────────────── + ─ mid ───┴───────────────────────────── + ─ post
//! ```
//! In a parallel block both branches read `resid_pre` and are added together. Families leave out norms and put others
//! behind `o`, behind `down`, and on queries and keys; what stands in the weights is what is done. Every named site is one call of
//! [`Taps::at`]; where nothing is wanted that call returns its argument.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::cache::{Cache, Segment, Sequence};
use super::footprint::Footprint;
use super::leaves::Leaves;
use super::spec::{BlockOrder, DecoderSpec, Positions, QueryKeyNorm};
use super::taps::{self, Taps};
use super::weights::{AttentionWeights, BlockWeights, Linear, NormWeights, Weights};
use crate::error::{Error, Result};
use crate::kernels::{Branch, Kernels, NormKind, RotaryRows};
use crate::request::site::BlockSite;
use crate::request::{Edit, ScoredToken, Site, SiteValues};

/// Rows of logits that are held at once: as many as take about 64 MiB, so that the head's weights are read seldom, but
/// at least 64 and at most 256, from where on products are at their full speed.
pub(super) fn logits_at_once(vocab: usize) -> usize {
    const BYTES: usize = 64 << 20;
    (BYTES / (4 * vocab.max(1))).clamp(64, 256)
}

/// A model ready to run.
pub struct Decoder<K: Kernels> {
    pub(crate) kernels: K,
    pub(crate) spec: DecoderSpec,
    pub(crate) weights: Weights<K::Matrix, K::Vector>,
    pub(crate) leaves: Leaves,
    /// Stored tensors by name, kept when gradients are wanted.
    pub(crate) raws: Vec<(String, K::Raw)>,
    /// Bytes of keys and values that are alive.
    pub(super) live: Arc<AtomicUsize>,
}

/// The rows that go through the blocks together.
pub(super) struct Pass<K: Kernels> {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    /// One for each of the rotary tables.
    rotary: Vec<RotaryRows>,
    rows: Vec<Row<K>>,
}

/// One sequence of a pass: its rows, and where their keys and values go.
struct Row<K: Kernels> {
    first: usize,
    rows: usize,
    before: Vec<Arc<Segment<K>>>,
    own: Segment<K>,
    keep: bool,
}

impl<K: Kernels> Row<K> {
    fn branch(&self, layer: usize) -> Branch<'_, K::Kv> {
        Branch { first: self.first, rows: self.rows, segments: self.segments(layer) }
    }

    /// Keys and values of one layer, up to the last of these rows.
    fn segments(&self, layer: usize) -> Vec<&K::Kv> {
        let before = self.before.iter().filter(|segment| segment.length > 0).map(|segment| &segment.layers[layer]);
        before.chain([&self.own.layers[if self.keep { layer } else { 0 }]]).collect()
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

    /// What its passes take in memory.
    pub fn footprint(&self) -> Footprint {
        Footprint::of_pass(&self.spec)
    }

    /// Its weights one by one.
    pub fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    pub fn kernels(&self) -> &K {
        &self.kernels
    }

    /// Rows of logits that are held at once.
    pub fn logits_at_once(&self) -> usize {
        logits_at_once(self.spec.vocab)
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
        self.forward_all(&mut [Sequence { tokens, cache, keep: true }], taps)
    }

    /// [`Self::forward`] of several sequences at once; their rows stand one after the other. Only a single sequence
    /// can be captured or edited.
    pub fn forward_all(&self, sequences: &mut [Sequence<'_, K>], taps: &mut Taps<'_, K>) -> Result<K::Array> {
        self.pass(sequences, None, taps)
    }

    /// Some rows of what [`Self::forward_all`] returns, `[wanted.len(), width]`. Of the others the last block computes
    /// no more than keys, values and what they attend to.
    pub fn forward_rows(
        &self,
        sequences: &mut [Sequence<'_, K>],
        wanted: &[usize],
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        if taps.idle() {
            return self.pass(sequences, Some(wanted), taps);
        }
        self.kernels.rows(&self.pass(sequences, None, taps)?, wanted)
    }

    fn pass(
        &self,
        sequences: &mut [Sequence<'_, K>],
        wanted: Option<&[usize]>,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        if sequences.len() > 1 && !taps.idle() {
            return Err(Error::internal("taps in a pass of several sequences"));
        }
        let mut pass = self.begin(sequences)?;
        let mut x = self.embedded(&pass, taps)?;
        for layer in 0..self.spec.layers {
            let wanted = wanted.filter(|_| layer + 1 == self.spec.layers);
            x = self.block(layer, x, &mut pass, wanted, taps)?;
        }
        for (row, sequence) in pass.rows.into_iter().zip(sequences) {
            if row.keep {
                sequence.cache.length += row.rows;
                sequence.cache.segments.push(Arc::new(row.own));
            }
        }
        self.normed(&x, taps)
    }

    /// Opens a pass: tokens and positions of its rows, and room for their keys and values.
    pub(super) fn begin(&self, sequences: &mut [Sequence<'_, K>]) -> Result<Pass<K>> {
        let tokens: Vec<u32> = sequences.iter().flat_map(|sequence| sequence.tokens).copied().collect();
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= self.spec.vocab) {
            return Err(Error::bad(format!("expected token ids below {}, found {token}", self.spec.vocab)));
        }
        let positions: Vec<usize> = sequences
            .iter()
            .flat_map(|sequence| (0..sequence.tokens.len()).map(|row| sequence.cache.length + row))
            .collect();
        let rotary = match &self.spec.positions {
            Positions::Learned { .. } => Vec::new(),
            Positions::Rotary(specs) => specs.iter().map(|spec| spec.rows(positions.iter().copied())).collect(),
        };
        Ok(Pass { tokens, positions, rotary, rows: self.open(sequences)? })
    }

    /// The residual stream before the first block: `[S, width]`.
    pub(super) fn embedded(&self, pass: &Pass<K>, taps: &mut Taps<'_, K>) -> Result<K::Array> {
        let k = &self.kernels;
        let x = self.times(k.embed(&self.weights.embedding, &pass.tokens)?, self.spec.multipliers.embedding)?;
        let x = taps.at(Site::Embed, x)?;
        match &self.spec.positions {
            Positions::Learned { rows } => k.add(x, &taps.at(Site::PosEmbed, self.learned(*rows, &pass.positions)?)?),
            Positions::Rotary(_) => Ok(x),
        }
    }

    /// What the head reads, from the residual stream after the last block.
    pub(super) fn normed(&self, x: &K::Array, taps: &mut Taps<'_, K>) -> Result<K::Array> {
        self.norm(x, &self.weights.final_norm, Site::FinalScale, Site::FinalNormalized, taps)
    }

    /// Times a factor that is 1 in most families.
    fn times(&self, x: K::Array, factor: f64) -> Result<K::Array> {
        if factor == 1.0 { Ok(x) } else { self.kernels.scale(x, factor) }
    }

    /// Makes room for the keys and values of a pass.
    fn open(&self, sequences: &mut [Sequence<'_, K>]) -> Result<Vec<Row<K>>> {
        let mut first = 0;
        let open = |sequence: &mut Sequence<'_, K>| {
            let (rows, keep) = (sequence.tokens.len(), sequence.keep);
            let tail = if keep { sequence.cache.take_tail(rows) } else { None };
            let mut own = match tail {
                Some(tail) => tail,
                None if keep => self.segment(rows)?,
                None => self.passing_segment(rows),
            };
            own.length += rows;
            first += rows;
            Ok(Row { first: first - rows, rows, before: sequence.cache.segments.clone(), own, keep })
        };
        sequences.iter_mut().map(open).collect()
    }

    /// Rows of a learned table of positions.
    fn learned(&self, table: usize, positions: &[usize]) -> Result<K::Array> {
        if let Some(&last) = positions.iter().max().filter(|&&last| last >= table) {
            return Err(Error::bad(format!("expected at most {table} positions, found {}", last + 1)));
        }
        let ids: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        let weights = self.weights.positions.as_ref();
        self.kernels.embed(weights.ok_or_else(|| Error::internal("learned positions without a table"))?, &ids)
    }

    /// One block: residual stream in, residual stream out, of the wanted rows where only some are.
    pub(super) fn block(
        &self,
        layer: usize,
        x: K::Array,
        pass: &mut Pass<K>,
        wanted: Option<&[usize]>,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let (k, block) = (&self.kernels, &self.weights.blocks[layer]);
        let rotary = self.spec.attention[layer].rotary.and_then(|table| pass.rotary.get(table));
        let site = |site| Site::Block(layer, site);
        let x = taps.at(site(BlockSite::ResidPre), x)?;
        let residual = self.spec.multipliers.residual;
        let z = self.mixed(layer, block, &x, rotary, &mut pass.rows, taps)?;
        let (x, z) = match wanted {
            Some(wanted) => (k.rows(&x, wanted)?, self.head_rows(z, wanted)?),
            None => (x, z),
        };
        let attention = self.times(self.attention_output(layer, block, z, taps)?, residual)?;
        let post = match self.spec.order {
            BlockOrder::Serial => {
                let mid = taps.at(site(BlockSite::ResidMid), k.add(x, &attention)?)?;
                let mlp = self.times(self.mlp(layer, block, &mid, taps)?, residual)?;
                k.add(mid, &mlp)?
            }
            BlockOrder::Parallel => {
                let mlp = self.times(self.mlp(layer, block, &x, taps)?, residual)?;
                k.add(k.add(mlp, &attention)?, &x)?
            }
        };
        taps.at(site(BlockSite::ResidPost), post)
    }

    /// What each head takes from the values: `[S, heads, width]`.
    fn mixed(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        x: &K::Array,
        rotary: Option<&RotaryRows>,
        rows: &mut [Row<K>],
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let site = |site| Site::Block(layer, site);
        let input = self.attention_input(layer, block, x, taps)?;
        let [q, key, value] = self.query_key_value(block, input)?;
        let q = self.clip(self.norm_heads(taps.at(site(BlockSite::Q), q)?, &block.attention.query_norms)?)?;
        let key = self.clip(self.norm_heads(taps.at(site(BlockSite::K), key)?, &block.attention.key_norms)?)?;
        let value = self.clip(taps.at(site(BlockSite::V), value)?)?;
        let (q, key) = match rotary {
            Some(rows) => (
                taps.at(site(BlockSite::RotQ), k.rotate(q, rows)?)?,
                taps.at(site(BlockSite::RotK), k.rotate(key, rows)?)?,
            ),
            None => (q, key),
        };
        for row in rows.iter_mut() {
            if !row.keep {
                row.own.layers = vec![k.kv(self.spec.kv_heads, self.spec.head_width, row.rows)?];
            }
            let own = &mut row.own.layers[if row.keep { layer } else { 0 }];
            k.kv_append(own, &key, &value, row.first..row.first + row.rows)?;
        }
        let scoring = self.spec.attention[layer].scoring;
        let z = if taps.wants(site(BlockSite::AttnScores)) || taps.wants(site(BlockSite::Pattern)) {
            let (keys, values) = k.kv_arrays(&rows[0].segments(layer))?;
            let scores = taps.at(site(BlockSite::AttnScores), k.attention_scores(&q, &keys, scoring)?)?;
            let pattern = taps.at(site(BlockSite::Pattern), k.softmax(scores)?)?;
            k.attention_mix(&pattern, &values)?
        } else {
            let branches: Vec<Branch<'_, K::Kv>> = rows.iter().map(|row| row.branch(layer)).collect();
            k.attention(&q, &branches, scoring)?
        };
        taps.at(site(BlockSite::Z), z)
    }

    /// Some rows of `[S, heads, width]`.
    fn head_rows(&self, z: K::Array, wanted: &[usize]) -> Result<K::Array> {
        let heads = self.kernels.shape(&z)[1];
        self.kernels.split_heads(self.kernels.rows(&self.kernels.merge_heads(z)?, wanted)?, heads)
    }

    /// What attention adds to the residual, its norm included.
    fn attention_output(
        &self,
        layer: usize,
        block: &BlockWeights<K::Matrix, K::Vector>,
        z: K::Array,
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let site = |site| Site::Block(layer, site);
        let output = &block.attention.output;
        let post = |out: K::Array, taps: &mut Taps<'_, K>| {
            let sites = [site(BlockSite::Ln1PostScale), site(BlockSite::Ln1PostNormalized)];
            let out = self.norm_where(out, block.attention_post_norm.as_ref(), sites, taps)?;
            taps.at(site(BlockSite::AttnOut), out)
        };
        if !taps.wants(site(BlockSite::Result)) {
            return post(self.linear(&k.merge_heads(z)?, output)?, taps);
        }
        let mut out = self.linear(&k.merge_heads(z.clone())?, output)?;
        let before = k.head_results(&z, &output.weight)?;
        let after = taps.at(site(BlockSite::Result), before.clone())?;
        if taps.edits(site(BlockSite::Result)) {
            // Only what the edit changed is added, so that an edit that changes nothing leaves the bits alone.
            out = k.add(out, &k.sum_heads(&k.subtract(after, &before)?)?)?;
        }
        post(out, taps)
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
            let sites = [site(BlockSite::Ln1Scale), site(BlockSite::Ln1Normalized)];
            this.norm_where(x.clone(), block.attention_norm.as_ref(), sites, taps)
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

    /// The three projections, `[S, heads, width]` each.
    fn query_key_value(
        &self,
        block: &BlockWeights<K::Matrix, K::Vector>,
        input: Projected<K::Array>,
    ) -> Result<[K::Array; 3]> {
        let k = &self.kernels;
        let (heads, kv_heads) = (self.spec.heads, self.spec.kv_heads);
        let AttentionWeights { query, key, value, .. } = &block.attention;
        match input {
            Projected::Shared(x) => {
                let pair = |linear| weight_and_bias::<K>(linear);
                let [q, k_, v] = three(k.linears(&x, &[pair(query), pair(key), pair(value)])?)?;
                Ok([k.split_heads(q, heads)?, k.split_heads(k_, kv_heads)?, k.split_heads(v, kv_heads)?])
            }
            Projected::PerHead { query: q, key: k_, value: v } => {
                let norm = block.attention_norm.as_ref();
                Ok([
                    self.project(&q, norm, query, heads)?,
                    self.project(&k_, norm, key, kv_heads)?,
                    self.project(&v, norm, value, kv_heads)?,
                ])
            }
        }
    }

    /// `[S, heads, D]` through the norm and each head's share of a projection. Computes the whole projection for
    /// every head and keeps one head of it: slow, and equal to the bit.
    fn project(
        &self,
        x: &K::Array,
        norm: Option<&NormWeights<K::Vector>>,
        linear: &Linear<K::Matrix, K::Vector>,
        heads: usize,
    ) -> Result<K::Array> {
        let k = &self.kernels;
        let parts = (0..heads).map(|head| {
            let own = k.head(x, head)?;
            let normed = match norm {
                Some(norm) => self.norm_untapped(&own, norm)?,
                None => own,
            };
            k.head(&k.split_heads(self.linear(&normed, linear)?, heads)?, head)
        });
        k.stack_heads(&parts.collect::<Result<Vec<_>>>()?)
    }

    fn clip(&self, x: K::Array) -> Result<K::Array> {
        match self.spec.clip {
            Some(limit) => self.kernels.clip(x, limit),
            None => Ok(x),
        }
    }

    /// Norms of queries or keys `[S, heads, h]`.
    fn norm_heads(&self, x: K::Array, norms: &[NormWeights<K::Vector>]) -> Result<K::Array> {
        let k = &self.kernels;
        match (self.spec.query_key_norm, norms) {
            (None, _) | (_, []) => Ok(x),
            (Some(QueryKeyNorm::PerHead), [shared]) => self.norm_untapped(&x, shared),
            (Some(QueryKeyNorm::Whole), [whole, ..]) => {
                let heads = k.shape(&x)[1];
                k.split_heads(self.norm_untapped(&k.merge_heads(x)?, whole)?, heads)
            }
            (Some(QueryKeyNorm::PerHead), each) => {
                let normed = each.iter().enumerate().map(|(head, norm)| self.norm_untapped(&k.head(&x, head)?, norm));
                k.stack_heads(&normed.collect::<Result<Vec<_>>>()?)
            }
        }
    }

    pub(super) fn linear(&self, x: &K::Array, linear: &Linear<K::Matrix, K::Vector>) -> Result<K::Array> {
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
        taps.at(out_site, k.norm_apply(&x, &scale, weights.gain.as_ref(), weights.bias.as_ref())?)
    }

    /// [`Self::norm`] where the family has one.
    pub(super) fn norm_where(
        &self,
        x: K::Array,
        weights: Option<&NormWeights<K::Vector>>,
        [scale_site, out_site]: [Site; 2],
        taps: &mut Taps<'_, K>,
    ) -> Result<K::Array> {
        match weights {
            Some(weights) => self.norm(&x, weights, scale_site, out_site, taps),
            None => Ok(x),
        }
    }

    fn norm_untapped(&self, x: &K::Array, weights: &NormWeights<K::Vector>) -> Result<K::Array> {
        let (x, scale) = self.norm_parts(x)?;
        self.kernels.norm_apply(&x, &scale, weights.gain.as_ref(), weights.bias.as_ref())
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
        self.head(&self.kernels.rows(hidden, rows)?)
    }

    /// Logits of all rows `[rows, width]`.
    pub(super) fn head(&self, x: &K::Array) -> Result<K::Array> {
        let logits = match &self.weights.head {
            Some(head) => self.linear(x, head)?,
            None => self.kernels.linear(x, &self.weights.embedding, None)?,
        };
        let logits = self.times(logits, self.spec.multipliers.logits)?;
        match self.spec.logit_cap {
            Some(cap) => self.kernels.soft_cap(logits, cap),
            None => Ok(logits),
        }
    }

    /// Log-probabilities of targets: `(row, target)` pairs in, one score for each out. Every row's logits are computed
    /// once, however many targets it has.
    pub fn score(&self, hidden: &K::Array, wanted: &[(usize, u32)]) -> Result<Vec<ScoredToken>> {
        let mut rows: Vec<usize> = wanted.iter().map(|(row, _)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut scored = vec![ScoredToken { log_prob: 0.0, greedy: false }; wanted.len()];
        for chunk in rows.chunks(self.logits_at_once()) {
            let logits = self.logits(hidden, chunk)?;
            let sums = self.kernels.logit_rows(&logits)?;
            let here = |(index, (row, target)): (usize, &(usize, u32))| {
                Some((index, (chunk.binary_search(row).ok()?, *target as usize)))
            };
            let (indices, places): (Vec<usize>, Vec<(usize, usize)>) =
                wanted.iter().enumerate().filter_map(here).unzip();
            for ((index, (row, target)), logit) in
                indices.into_iter().zip(&places).zip(self.kernels.pick(&logits, &places)?)
            {
                let greedy = sums[*row].best == *target;
                scored[index] = ScoredToken { log_prob: sums[*row].log_prob(logit), greedy };
            }
        }
        Ok(scored)
    }

    /// One row of an array, as plain numbers.
    pub fn row(&self, x: &K::Array, row: usize) -> Result<Vec<f32>> {
        Ok(self.kernels.host(&self.kernels.rows(x, &[row])?)?.values)
    }

    /// [`Self::logits`], as plain numbers.
    pub fn host_logits(&self, hidden: &K::Array, rows: &[usize]) -> Result<SiteValues> {
        self.kernels.host(&self.logits(hidden, rows)?)
    }
}

pub(super) fn weight_and_bias<K: Kernels>(linear: &Linear<K::Matrix, K::Vector>) -> (&K::Matrix, Option<&K::Vector>) {
    (&linear.weight, linear.bias.as_ref())
}

fn three<A>(arrays: Vec<A>) -> Result<[A; 3]> {
    arrays.try_into().map_err(|_| Error::internal("three products were asked for"))
}
