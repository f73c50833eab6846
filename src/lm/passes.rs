//! From a plan to forward passes: what stands ready is packed, row after row, into passes of a bounded size.
//!
//! ```text
//! open (a stack)                         one pass, no padding
//!   question 2's answers  ◄ next         ┌────────────┬──────────┬──────────┬───┬───┬───┐
//!   question 2's node                    │ question 2 │ answer A │ answer B │ g │ g │ g │  one row for each
//!   question 3                           └────────────┴──────────┴──────────┴───┴───┴───┘  running generation
//! ```
//! The youngest work comes first, so a branch is finished before the next one begins, and what its beginnings keep
//! (keys and values) lives no longer than needed. Work is admitted only if everything below it can be finished within
//! the limit while all that is alive stays; so the work on top can always go on, and nothing is computed twice.

use std::collections::BTreeMap;

use super::generate::{Generation, Rules};
use super::{Answers, Sink};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Kernels;
use crate::model::{Cache, Decoder, Sequence, Taps};
use crate::request::{Ask, Plan, Response, ScoredToken, Want};
use crate::text::Tokenizer;

/// What bounds a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rows of one pass.
    pub rows: usize,
    /// Bytes of keys and values that are alive at once.
    pub kv_bytes: usize,
}

/// A node whose beginning is computed, or a generation that waits for its turn.
struct Work<K: Kernels> {
    what: What,
    cache: Cache<K>,
}

enum What {
    /// From this row of the node on.
    Node {
        node: usize,
        done: usize,
    },
    Generation(Box<Generation>),
}

/// A part of a pass.
struct Part<K: Kernels> {
    what: What,
    /// First row within the pass, and rows.
    first: usize,
    rows: usize,
    cache: Cache<K>,
    keep: bool,
}

/// A plan on its way through a decoder.
pub(super) struct Passes<'a, K: Kernels> {
    decoder: &'a Decoder<K>,
    tokenizer: &'a Tokenizer,
    plan: &'a Plan,
    rules: Rules<'a>,
    limits: Limits,
    /// Bytes that the deepest path of each node keeps, itself included.
    heights: Vec<usize>,
    open: Vec<Work<K>>,
    running: Vec<(Box<Generation>, Cache<K>)>,
    /// Scores of requests that wait for more.
    partial: BTreeMap<usize, Partial>,
}

struct Partial {
    scores: Vec<ScoredToken>,
    missing: usize,
}

impl<'a, K: Kernels> Passes<'a, K> {
    /// # Errors
    /// When a single path of the plan needs more than the limit.
    pub fn new(
        decoder: &'a Decoder<K>,
        tokenizer: &'a Tokenizer,
        plan: &'a Plan,
        rules: Rules<'a>,
        limits: Limits,
    ) -> Result<Self> {
        let heights = heights(decoder, plan, &rules);
        let most = plan.roots().iter().map(|&root| heights[root]).max().unwrap_or(0);
        if most > limits.kv_bytes {
            return Err(super::memory::too_small(most - limits.kv_bytes));
        }
        let open = |&node: &usize| Work { what: What::Node { node, done: 0 }, cache: decoder.empty_cache() };
        let open = plan.roots().iter().rev().map(open).collect();
        let (running, partial) = (Vec::new(), BTreeMap::new());
        Ok(Self { decoder, tokenizer, plan, rules, limits, heights, open, running, partial })
    }

    /// Runs to the end; every answer goes to the sink as soon as its pass is done.
    pub fn run(mut self, sink: &mut Sink<'_>) -> Result<()> {
        while !(self.open.is_empty() && self.running.is_empty()) {
            if ctx::interrupted() {
                let stopped = Diagnostic::new("interrupted").help("the same command goes on where it stopped");
                return Err(Error::new(ErrorKind::Incomplete, stopped));
            }
            let parts = self.fill()?;
            sink(self.pass(parts)?)?;
        }
        Ok(())
    }

    /// Takes what fits into the next pass.
    fn fill(&mut self) -> Result<Vec<Part<K>>> {
        let mut pass: Vec<Part<K>> = Vec::new();
        let (mut rows, mut promised) = (0, 0);
        let steps = self.running.len().min(self.limits.rows);
        let edited = |what: &What| !self.plan.requests()[request_of(self.plan, what)].edits.is_empty();
        for (generation, cache) in self.running.drain(..steps) {
            let what = What::Generation(generation);
            pass.push(Part { what, first: rows, rows: 1, cache, keep: true });
            rows += 1;
        }
        // Interventions are applied to one sequence at a time.
        if let Some(alone) = pass.iter().position(|part| edited(&part.what)) {
            let mut only = pass.swap_remove(alone);
            self.running.extend(pass.into_iter().filter_map(Part::into_running));
            only.first = 0;
            return Ok(vec![only]);
        }
        while let Some(work) = self.open.last() {
            let room = self.limits.rows.saturating_sub(rows);
            let (left, needs) = self.needs(work);
            let (alone, first) = (edited(&work.what), pass.is_empty());
            // A long node is cut where a good part of the pass is free, so that running generations do not go alone.
            let fits = left <= room || 2 * room >= self.limits.rows;
            let affordable = self.decoder.live_bytes() + promised + needs <= self.limits.kv_bytes;
            if !fits || !(affordable || first) || (alone && !first) {
                break;
            }
            let Some(mut work) = self.open.pop() else { break };
            match work.what {
                What::Node { node, done } => {
                    let taken = left.min(room);
                    let keep = taken < left || self.goes_on(node);
                    if done == 0 && taken < left {
                        self.decoder.reserve(&mut work.cache, left)?;
                    } else if done == 0 && keep {
                        promised += self.decoder.segment_bytes(left);
                    }
                    pass.push(Part { what: work.what, first: rows, rows: taken, cache: work.cache, keep });
                    rows += taken;
                }
                What::Generation(generation) => {
                    self.decoder.reserve(&mut work.cache, self.rules.longest(self.plan, generation.request))?;
                    let what = What::Generation(generation);
                    pass.push(Part { what, first: rows, rows: 1, cache: work.cache, keep: true });
                    rows += 1;
                }
            }
            if alone {
                break;
            }
        }
        Ok(pass)
    }

    /// Rows that some work has left, and bytes that it and everything below it still need.
    fn needs(&self, work: &Work<K>) -> (usize, usize) {
        match &work.what {
            What::Node { node, done } => {
                let rows = self.plan.nodes()[*node].range.len();
                let there = if *done > 0 { self.decoder.segment_bytes(rows) } else { 0 };
                (rows - done, self.heights[*node] - there)
            }
            What::Generation(generation) => {
                (1, self.decoder.segment_bytes(self.rules.longest(self.plan, generation.request)))
            }
        }
    }

    fn goes_on(&self, node: usize) -> bool {
        let node = &self.plan.nodes()[node];
        !node.children.is_empty() || !node.generates.is_empty()
    }

    /// One forward pass, and everything that follows from it.
    fn pass(&mut self, mut parts: Vec<Part<K>>) -> Result<Answers> {
        let (plan, decoder) = (self.plan, self.decoder);
        let Some(edits) = parts.first().map(|part| &plan.requests()[request_of(plan, &part.what)].edits) else {
            return Err(Error::internal("a pass of nothing"));
        };
        decoder.check_sites(&[], edits)?;
        let first = parts[0].cache.length();
        let mut taps = Taps::new(decoder.kernels(), &[], edits, first);
        let read = self.read_rows(&parts);
        let mut sequences: Vec<Sequence<'_, K>> = parts
            .iter_mut()
            .map(|part| {
                let tokens = match &part.what {
                    What::Node { node, done } => {
                        let node = &plan.nodes()[*node];
                        &plan.requests()[node.request].tokens[node.range.start + done..][..part.rows]
                    }
                    What::Generation(generation) => generation.last(),
                };
                Sequence { tokens, cache: &mut part.cache, keep: part.keep }
            })
            .collect();
        let hidden = decoder.forward_rows(&mut sequences, &read, &mut taps)?;
        drop(sequences);
        let place = |row: usize| read.partition_point(|&own| own < row);
        let mut answers = self.score(&parts, &hidden, &place)?;
        // Rows after which a token is chosen: whose, and how far they are.
        let (mut rows, mut chosen) = (Vec::new(), Vec::new());
        // In this order: what was admitted last lies on top then and is finished first. Those before it were admitted
        // without counting it, so the other order could need more than the limit.
        for part in parts {
            let last = place(part.last());
            match part.what {
                What::Generation(generation) => {
                    rows.push(last);
                    chosen.push((generation, part.cache, true));
                }
                What::Node { node: index, done } => {
                    let (node, done) = (&plan.nodes()[index], done + part.rows);
                    if done < node.range.len() {
                        self.open.push(Work { what: What::Node { node: index, done }, cache: part.cache });
                        continue;
                    }
                    let child = |&node: &usize| Work { what: What::Node { node, done: 0 }, cache: part.cache.clone() };
                    self.open.extend(node.children.iter().rev().map(child));
                    for &request in node.generates.iter().rev() {
                        rows.push(last);
                        chosen.push((Box::new(Generation::begin(plan, request)?), part.cache.clone(), false));
                    }
                }
            }
        }
        answers.extend(self.choose(&hidden, &rows, chosen)?);
        Ok(answers)
    }

    /// Rows of a pass that something is read from, ascending; where there are none, one that nobody reads.
    fn read_rows(&self, parts: &[Part<K>]) -> Vec<usize> {
        let mut rows = Vec::new();
        for part in parts {
            rows.extend(self.wants(part).map(|(row, _)| row));
            let chooses = match part.what {
                What::Generation(_) => true,
                What::Node { node, done } => {
                    let node = &self.plan.nodes()[node];
                    !node.generates.is_empty() && done + part.rows == node.range.len()
                }
            };
            if chooses {
                rows.push(part.last());
            }
        }
        if rows.is_empty() {
            rows.extend(parts.last().map(Part::last));
        }
        rows.dedup();
        rows
    }

    /// Rows within the pass that are scored, ascending, and for what.
    fn wants(&self, part: &Part<K>) -> impl Iterator<Item = (usize, &'a Want)> {
        let (wants, done) = match part.what {
            What::Node { node, done } => (self.plan.nodes()[node].wants.as_slice(), done),
            What::Generation(_) => (&[][..], 0),
        };
        let from = wants.partition_point(|want| want.row < done);
        let to = wants.partition_point(|want| want.row < done + part.rows);
        let first = part.first;
        wants[from..to].iter().map(move |want| (first + want.row - done, want))
    }

    /// Scores the wanted rows of a pass, which stand at their places in `hidden`, and hands out the answers that are whole.
    fn score(&mut self, parts: &[Part<K>], hidden: &K::Array, place: &dyn Fn(usize) -> usize) -> Result<Answers> {
        let mut answers = Vec::new();
        let wanted: Vec<(usize, &Want)> =
            parts.iter().flat_map(|part| self.wants(part)).map(|(row, want)| (place(row), want)).collect();
        let rows: Vec<(usize, u32)> = wanted.iter().map(|(row, want)| (*row, want.target)).collect();
        for ((_, want), scored) in wanted.iter().zip(self.decoder.score(hidden, &rows)?) {
            let ask = &self.plan.requests()[want.request].ask;
            let partial = self.partial.entry(want.request).or_insert_with(|| {
                let places = ask.scored_tokens(self.plan.requests()[want.request].tokens.len());
                Partial { scores: vec![ScoredToken { log_prob: 0.0, greedy: false }; places], missing: places }
            });
            partial.scores[want.place] = scored;
            partial.missing -= 1;
            if partial.missing == 0 {
                let scores = self.partial.remove(&want.request).map(|partial| partial.scores).unwrap_or_default();
                let response = match ask {
                    Ask::Roll { .. } => Response::Roll(scores),
                    _ => Response::Score(scores),
                };
                answers.push((want.request, response));
            }
        }
        Ok(answers)
    }

    /// Chooses the next token of generations, of which the last flag says whether they are running already.
    fn choose(
        &mut self,
        hidden: &K::Array,
        rows: &[usize],
        chosen: Vec<(Box<Generation>, Cache<K>, bool)>,
    ) -> Result<Answers> {
        let (mut chosen, mut answers) = (chosen.into_iter(), Vec::new());
        for rows in rows.chunks(self.decoder.logits_at_once()) {
            let logits = self.decoder.logits(hidden, rows)?;
            let sums = self.decoder.kernels().logit_rows(&logits)?;
            for (row, ((mut generation, cache, running), sum)) in chosen.by_ref().take(rows.len()).zip(sums).enumerate()
            {
                let full = cache.length() >= self.rules.max_length;
                let logit = |token: u32| Ok(self.decoder.kernels().pick(&logits, &[(row, token as usize)])?[0]);
                let all = || self.decoder.row(&logits, row);
                let done = generation.step(self.plan, &self.rules, self.tokenizer, sum, &logit, &all, full)?;
                if done {
                    answers.push((generation.request, generation.response(self.plan)?));
                } else if running {
                    self.running.push((generation, cache));
                } else {
                    self.open.push(Work { what: What::Generation(generation), cache });
                }
            }
        }
        Ok(answers)
    }
}

impl<K: Kernels> Part<K> {
    /// Its last row within the pass.
    fn last(&self) -> usize {
        self.first + self.rows - 1
    }

    fn into_running(self) -> Option<(Box<Generation>, Cache<K>)> {
        match self.what {
            What::Generation(generation) => Some((generation, self.cache)),
            What::Node { .. } => None,
        }
    }
}

fn request_of(plan: &Plan, what: &What) -> usize {
    match what {
        What::Node { node, .. } => plan.nodes()[*node].request,
        What::Generation(generation) => generation.request,
    }
}

/// Bytes of keys and values that the deepest path from each node on keeps.
fn heights<K: Kernels>(decoder: &Decoder<K>, plan: &Plan, rules: &Rules<'_>) -> Vec<usize> {
    let mut heights = vec![0; plan.nodes().len()];
    for (index, node) in plan.nodes().iter().enumerate().rev() {
        let children = node.children.iter().map(|&child| heights[child]);
        let generations = node.generates.iter().map(|&request| decoder.segment_bytes(rules.longest(plan, request)));
        heights[index] = decoder.segment_bytes(node.range.len()) + children.chain(generations).max().unwrap_or(0);
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::Cpu;
    use crate::lm::{LanguageModel, Local, LocalOptions, cpu};
    use crate::request::{Request, Sampling, Sharing};

    fn model() -> Local<Cpu> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/example/ckpts/step200");
        Local::open(std::path::Path::new(folder), cpu(2).unwrap(), &LocalOptions::default()).unwrap()
    }

    /// Two headers, each with questions of different lengths, each with answers to score or to make up.
    fn requests() -> Vec<Request> {
        let text = |from: u32, length: usize| (0..length as u32).map(move |i| (from * 31 + i * i * 7) % 90 + 3);
        let of = |header: u32, question: u32, answer: u32| {
            let prompt = text(header, 40).chain(text(10 + question, 5 + 6 * question as usize));
            let asks = |max_tokens| Ask::Generate { stop: [].into(), max_tokens, sampling: Sampling::Greedy };
            match answer {
                0 => Request::plain(prompt.collect::<Vec<_>>(), asks(3 + question as usize)),
                _ => Request::score(prompt.chain(text(20 + answer, 6)).collect::<Vec<_>>(), 41),
            }
        };
        (0..2).flat_map(|h| (0..4).flat_map(move |q| (0..4).map(move |a| of(h, q, a)))).collect()
    }

    /// The answers, and the most bytes of keys and values that were alive after a pass.
    fn run(model: &Local<Cpu>, plan: &Plan, limits: Limits) -> Result<(BTreeMap<usize, Response>, usize)> {
        let (mut answers, mut most) = (BTreeMap::new(), 0);
        let rules = Rules { ends: &[], max_length: model.info().max_length };
        Passes::new(model.decoder(), model.tokenizer(), plan, rules, limits)?.run(&mut |part| {
            most = most.max(model.decoder().live_bytes());
            answers.extend(part);
            Ok(())
        })?;
        Ok((answers, most))
    }

    #[test]
    fn any_limit_that_one_path_fits_gives_the_same_answers_within_it() {
        let (model, plan) = (model(), Plan::new(requests(), Sharing::Prefixes));
        let rules = Rules { ends: &[], max_length: model.info().max_length };
        let path = heights(model.decoder(), &plan, &rules).into_iter().max().unwrap();
        for rows in [1, 7, 64, 4096] {
            let (free, wanted) = run(&model, &plan, Limits { rows, kv_bytes: usize::MAX }).unwrap();
            assert_eq!(free.len(), plan.requests().len());
            for kv_bytes in [path, path + path / 3, 2 * path] {
                let (bound, most) = run(&model, &plan, Limits { rows, kv_bytes }).unwrap();
                assert!(bound == free, "{rows} rows, {kv_bytes} bytes: other answers");
                assert!(most <= kv_bytes, "{rows} rows: {most} bytes alive, {kv_bytes} allowed");
            }
            assert!(rows == 1 || wanted > path, "{rows} rows: the limit binds ({wanted} wanted, {path} given)");
        }
        assert!(run(&model, &plan, Limits { rows: 64, kv_bytes: path - 1 }).is_err());
        assert_eq!(model.decoder().live_bytes(), 0, "nothing is left behind");
    }
}
