//! Gradients of losses: a forward pass on tape, walked backwards one segment at a time.
//!
//! ```text
//! tokens ─► embedding ─► block 0 ─► ... ─► block L-1 ─► final norm ─► logits ─► loss
//!           └ segment 0  └ 1               └ L          └ L+1         └ in runs of rows
//! ```
//! A segment's record holds its activations. As many of the last segments as fit keep theirs from the forward pass; the
//! others keep their input only and are run again when the walk arrives. The bits are the same either way.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cache::Sequence;
use super::decoder::{Decoder, Pass};
use super::leaves::Place;
use super::objective::{Loss, Objective};
use super::taps::{self, Taps};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::tape::{self, Node, Receiver, Record, Tape};
use crate::kernels::{Kernels, Reverse, Taught};
use crate::request::site::BlockSite;
use crate::request::{Edit, EditOp, Positions, Site, SiteValues};

/// Rows of logits that are differentiated at once. Runs begin at an item's first row, so that an item's gradient does
/// not depend on its neighbours.
const RUN_ROWS: usize = 512;

/// What a reverse pass is to reach besides the weights that its receiver wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reach<'a> {
    /// Gradients at these sites; only for a single item.
    pub sites: &'a [Site],
    /// Edits in force; only for a single item.
    pub edits: &'a [Edit],
    /// Bytes of activations that may be kept from the forward pass. What does not fit is computed again.
    pub memory: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Reversed {
    /// One for each item.
    pub losses: Vec<f64>,
    /// Gradients at the sites that were asked for, of the sites' shapes; zero where the loss does not depend on one.
    pub sites: BTreeMap<Site, SiteValues>,
    /// Segments that were computed twice.
    pub recomputed: usize,
}

/// A segment on tape.
struct Segment<K: Reverse> {
    record: Record<K>,
    input: Option<Node<K>>,
    output: Node<K>,
    sites: BTreeMap<Site, Node<K>>,
}

impl<K: Reverse> Decoder<Tape<K>> {
    /// Losses of several items and their gradients. Weights' gradients go to the receiver, in the order of the walk: from
    /// the head down, every item's rows in the order of the items.
    ///
    /// # Errors
    /// Losses that have no gradient ([`Objective`]) or are not finite, by item; sites that this decoder does not have.
    pub fn reverse(
        &self,
        items: &[Objective<'_>],
        reach: Reach<'_>,
        receiver: &mut dyn Receiver<K>,
    ) -> Result<Reversed> {
        let named = |(index, item): (usize, &Objective<'_>)| {
            let problem = item.check(self.spec.vocab).err()?;
            Some(problem.into_diagnostics().into_iter().map(move |d| d.at(format!("item {index}"))))
        };
        Error::check(items.iter().enumerate().filter_map(named).flatten().collect())?;
        let sites: Vec<Site> = items.iter().filter_map(Objective::site).chain(reach.sites.iter().copied()).collect();
        self.check_sites(&sites, reach.edits)?;
        taps::check_gradients(&sites)?;
        if items.len() != 1 && !(sites.is_empty() && reach.edits.is_empty()) {
            return Err(Error::bad(format!("expected a single item with sites or edits, found {}", items.len())));
        }
        if items.is_empty() {
            return Ok(Reversed { losses: Vec::new(), sites: BTreeMap::new(), recomputed: 0 });
        }
        let _alone = self.kernels.alone();
        let edits = with_result_sites(reach.edits, &sites, self.spec.width);
        let mut caches: Vec<_> = items.iter().map(|_| self.empty_cache()).collect();
        let sequence = |(item, cache)| Sequence { tokens: Objective::input(item), cache, keep: false };
        let mut sequences: Vec<_> = items.iter().zip(&mut caches).map(sequence).collect();
        let mut pass = self.begin(&mut sequences)?;
        let rows = row_ranges(items);

        let last = self.spec.layers + 1;
        let lowest = self.lowest(&sites, receiver);
        let count = rows.last().map_or(0, |range| range.end);
        let besides = self.footprint().walk(count, self.spec.layers - lowest.min(self.spec.layers), RUN_ROWS);
        let fits = reach.memory.saturating_sub(besides) / self.footprint().recorded(count).max(1);
        let kept_from = (last + 1).saturating_sub(fits).max(lowest);
        let mut kept = Vec::new();
        let mut inputs = Vec::new();
        let mut x = None;
        for segment in 0..=last {
            let node = if segment >= kept_from {
                let on_tape = self.on_tape(segment, x.clone(), &mut pass, (&sites, &edits))?;
                let output = on_tape.output.clone();
                kept.push(on_tape);
                output
            } else {
                self.run(segment, x.clone(), &mut pass, &mut Taps::new(&self.kernels, &[], &edits, 0))?
            };
            // What is not walked needs no input.
            inputs.push(x.replace(node).filter(|_| segment >= lowest));
        }
        let hidden = x.ok_or_else(|| Error::internal("a pass without segments"))?;
        let (losses, dhidden) = self.losses(items, &rows, &hidden, receiver)?;
        let seeds = items.first().and_then(Objective::seed);
        let mut reversed = Reversed { losses, sites: BTreeMap::new(), recomputed: kept_from - lowest };
        let mut gradient = dhidden;
        for segment in (lowest..=last).rev() {
            let on_tape = match kept.pop() {
                Some(kept) => kept,
                None => self.on_tape(segment, inputs[segment].take(), &mut pass, (&sites, &edits))?,
            };
            gradient = self.walk(&on_tape, gradient, seeds, receiver, &mut reversed)?;
        }
        finite(&reversed.losses)?;
        for site in reach.sites {
            if !reversed.sites.contains_key(site) {
                return Err(Error::internal(format!("the pass did not meet {site}")));
            }
        }
        reversed.sites.retain(|site, _| reach.sites.contains(site));
        Ok(reversed)
    }

    /// Walks one segment backwards: from the gradient of its output to that of its input.
    fn walk(
        &self,
        segment: &Segment<K>,
        gradient: Option<K::Array>,
        seed: Option<(Site, &SiteValues)>,
        receiver: &mut dyn Receiver<K>,
        reversed: &mut Reversed,
    ) -> Result<Option<K::Array>> {
        let k = self.kernels.inner();
        let mut from: Vec<(tape::Place, K::Array)> =
            gradient.map(|gradient| (segment.output.place(), gradient)).into_iter().collect();
        if let Some((site, values)) = seed
            && let Some(node) = segment.sites.get(&site)
        {
            let found = self.kernels.host(node)?;
            if found.shape != values.shape {
                return Err(Error::bad(format!(
                    "expected values of shape {:?}, found {:?}",
                    found.shape, values.shape
                ))
                .at(format!("{site}")));
            }
            // Masked scores are infinite, and count only where they are asked for.
            let pairs = found.values.iter().zip(&values.values).filter(|(_, weight)| **weight != 0.0);
            reversed.losses[0] += pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            from.push((node.place(), k.array(values.clone())?));
        }
        let to: Vec<&Node<K>> = segment.input.iter().chain(segment.sites.values()).collect();
        let mut gradients = self.kernels.reverse(&segment.record, from, &to, receiver)?.into_iter();
        let input = if segment.input.is_some() { gradients.next().flatten() } else { None };
        for ((site, node), gradient) in segment.sites.iter().zip(gradients) {
            let values = if let Some(gradient) = gradient {
                k.host(&gradient)?
            } else {
                let shape = self.kernels.shape(node);
                SiteValues { values: vec![0.0; shape.iter().product()], shape }
            };
            reversed.sites.insert(*site, values);
        }
        Ok(input)
    }

    fn on_tape(
        &self,
        segment: usize,
        input: Option<Node<K>>,
        pass: &mut Pass<Tape<K>>,
        (sites, edits): (&[Site], &[Edit]),
    ) -> Result<Segment<K>> {
        self.kernels.open();
        let input = input.map(|node| self.kernels.leaf(node.into_value()));
        let mut taps = Taps::new(&self.kernels, sites, edits, 0);
        let output = self.run(segment, input.clone(), pass, &mut taps);
        let record = self.kernels.close()?;
        Ok(Segment { record, input, output: output?, sites: taps.into_arrays() })
    }

    fn run(
        &self,
        segment: usize,
        input: Option<Node<K>>,
        pass: &mut Pass<Tape<K>>,
        taps: &mut Taps<'_, Tape<K>>,
    ) -> Result<Node<K>> {
        match (segment, input) {
            (0, _) => self.embedded(pass, taps),
            (_, None) => Err(Error::internal("a segment without input")),
            (segment, Some(x)) if segment <= self.spec.layers => self.block(segment - 1, x, pass, None, taps),
            (_, Some(x)) => self.normed(&x, taps),
        }
    }

    /// Losses, and the gradient of what the head reads.
    fn losses(
        &self,
        items: &[Objective<'_>],
        rows: &[Range<usize>],
        hidden: &Node<K>,
        receiver: &mut dyn Receiver<K>,
    ) -> Result<(Vec<f64>, Option<K::Array>)> {
        let k = self.kernels.inner();
        let mut losses = vec![0f64; items.len()];
        let SiteValues { shape, mut values } = self.kernels.host(hidden)?;
        values.fill(0.0);
        let mut any = false;
        for run in runs(items) {
            any = true;
            let picked: Vec<usize> = run.iter().map(|(item, position)| rows[*item].start + position).collect();
            self.kernels.open();
            let input = self.kernels.leaf_of_rows(k.rows(hidden.value(), &picked)?, &picked);
            let logits = self.head(&input);
            let record = self.kernels.close()?;
            let logits = logits?;
            let place = logits.place();
            let dlogits = self.loss_of_run(items, &run, logits.into_value(), &mut losses)?;
            let gradient = self.kernels.reverse(&record, vec![(place, dlogits)], &[&input], receiver)?.pop().flatten();
            if let Some(gradient) = gradient {
                let gradient = k.host(&gradient)?.values;
                for (row, gradient) in picked.iter().zip(gradient.chunks(shape[1])) {
                    values[row * shape[1]..][..shape[1]].copy_from_slice(gradient);
                }
            }
        }
        finite(&losses)?;
        Ok((losses, if any { Some(k.array(SiteValues { shape, values })?) } else { None }))
    }

    /// Adds to the losses of the items of a run and returns the gradient of its logits `[rows, vocab]`.
    fn loss_of_run(
        &self,
        items: &[Objective<'_>],
        run: &[(usize, usize)],
        logits: K::Array,
        losses: &mut [f64],
    ) -> Result<K::Array> {
        let k = self.kernels.inner();
        let sums = k.logit_rows(&logits)?;
        let taught = run.iter().map(|&(item, position)| items[item].taught(position));
        if let Some((taught, weights)) = taught.collect::<Option<(Vec<Taught<'_>>, Vec<f32>)>>() {
            let places = taught_places(&taught);
            let wanted: Vec<(usize, usize)> = places.iter().map(|&(row, token, _)| (row, token)).collect();
            for (&(row, _, share), logit) in places.iter().zip(k.pick(&logits, &wanted)?) {
                // A share of one leaves the bits as they are.
                let weight = f64::from(weights[row]) * f64::from(share);
                losses[run[row].0] -= f64::from(sums[row].log_prob(logit)) * weight;
            }
            return k.nll_reverse(logits, &taught, &weights);
        }
        let SiteValues { shape, values } = k.host(&logits)?;
        let mut gradient = vec![0f32; values.len()];
        let rows = values.chunks(shape[1]).zip(gradient.chunks_mut(shape[1])).zip(&sums);
        for (&(item, position), ((logits, gradient), sum)) in run.iter().zip(rows) {
            match &items[item].loss {
                Loss::Logits(terms) => {
                    for term in terms.iter().filter(|term| term.position == position) {
                        losses[item] += f64::from(term.weight) * f64::from(logits[term.token as usize]);
                        gradient[term.token as usize] += term.weight;
                    }
                }
                Loss::Kl(reference) => {
                    for (_, log_probs) in reference.iter().filter(|(own, _)| *own == position) {
                        for ((g, logit), reference) in gradient.iter_mut().zip(logits).zip(log_probs) {
                            let (own, p) = (sum.log_prob(*logit), libm::expf(*reference));
                            if p > 0.0 {
                                losses[item] += f64::from(p) * (f64::from(*reference) - f64::from(own));
                            }
                            *g += libm::expf(own) - p;
                        }
                    }
                }
                Loss::Nll { .. } | Loss::Taught { .. } | Loss::Site { .. } => {
                    return Err(Error::internal("a run of losses of two kinds"));
                }
            }
        }
        k.array(SiteValues { shape, values: gradient })
    }

    /// The first segment that has to be walked.
    fn lowest(&self, sites: &[Site], receiver: &dyn Receiver<K>) -> usize {
        let of_place = |place| match place {
            Place::Embedding => 0,
            Place::Block(block) => block + 1,
            Place::End => self.spec.layers + 1,
        };
        let weights = (0..self.leaves.sources().len()).filter(|&number| receiver.wants(number));
        let weights = weights.map(|number| of_place(self.leaves.place(number)));
        let sites = sites.iter().map(|site| match site {
            Site::Embed | Site::PosEmbed => 0,
            Site::Block(block, _) => block + 1,
            Site::FinalScale | Site::FinalNormalized => self.spec.layers + 1,
        });
        weights.chain(sites).min().unwrap_or(self.spec.layers + 1)
    }
}

impl Objective<'_> {
    fn site(&self) -> Option<Site> {
        match self.loss {
            Loss::Site { site, .. } => Some(site),
            _ => None,
        }
    }

    fn seed(&self) -> Option<(Site, &SiteValues)> {
        match self.loss {
            Loss::Site { site, values } => Some((site, values)),
            _ => None,
        }
    }
}

/// Refuses losses that are no numbers, by item.
fn finite(losses: &[f64]) -> Result<()> {
    let strange = losses.iter().enumerate().filter(|(_, loss)| !loss.is_finite());
    let problem = |(index, loss): (usize, &f64)| {
        Diagnostic::new(format!("expected a finite loss, found {loss}")).at(format!("item {index}"))
    };
    Error::check(strange.map(problem).collect())
}

/// The rows of each item in a pass of [`Decoder::reverse`].
pub fn row_ranges(items: &[Objective<'_>]) -> Vec<Range<usize>> {
    let mut end = 0;
    let next = |item: &Objective<'_>| {
        let start = end;
        end += item.input().len();
        start..end
    };
    items.iter().map(next).collect()
}

/// Items and positions whose logits are computed together: whole items as long as they fit, and a longer item in runs
/// of its own. Likelihoods and other losses are computed in different ways, and keep apart.
fn runs(items: &[Objective<'_>]) -> Vec<Vec<(usize, usize)>> {
    let mut runs: Vec<Vec<(usize, usize)>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let positions = item.positions();
        let nll = |index: usize| matches!(items[index].loss, Loss::Nll { .. } | Loss::Taught { .. });
        let fits = runs.last().is_some_and(|run| {
            run.len() + positions.len() <= RUN_ROWS && run.first().is_some_and(|first| nll(first.0) == nll(index))
        });
        let own = |position: &usize| (index, *position);
        match runs.last_mut() {
            Some(run) if fits => run.extend(positions.iter().map(own)),
            _ => runs.extend(positions.chunks(RUN_ROWS).map(|chunk| chunk.iter().map(own).collect())),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Row, token and probability of whatever rows are taught.
fn taught_places(taught: &[Taught<'_>]) -> Vec<(usize, usize, f32)> {
    let mut places = Vec::with_capacity(taught.len());
    for (row, taught) in taught.iter().enumerate() {
        match *taught {
            Taught::Token(token) => places.push((row, token as usize, 1.0)),
            // What has no probability takes part in no sum.
            Taught::Shares(shares) => {
                let some = shares.iter().filter(|(_, share)| *share > 0.0);
                places.extend(some.map(|&(token, share)| (row, token as usize, share)));
            }
        }
    }
    places
}

/// What a head adds enters the pass only where somebody edits it: an edit that adds nothing lets its gradient through.
fn with_result_sites(edits: &[Edit], sites: &[Site], width: usize) -> Vec<Edit> {
    let zero = |site: &Site| match site {
        Site::Block(_, BlockSite::Result) => {
            Some(Edit { site: *site, positions: Positions::All, head: None, op: EditOp::Add(vec![0.0; width]) })
        }
        _ => None,
    };
    edits.iter().cloned().chain(sites.iter().filter_map(zero)).collect()
}
