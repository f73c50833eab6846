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
use super::memory::Room;
use super::{Answers, Sink};
use crate::ctx;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::{Cache, Decoder, Sequence, Taps};
use crate::request::{Ask, Begun, Plan, Response, ScoredToken, Want};
use crate::text::Tokenizer;

/// After so many tokens, and whenever there are twice as many, a generation is handed over as far as it is: a program that is
/// killed loses no more than half of it, and what is stored on the way takes no more than twice the room of the whole.
const KEPT_FROM: usize = 256;

/// What bounds a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rows of one pass.
    pub rows: usize,
    /// For keys and values that are alive at once.
    pub room: Room,
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

/// A generation whose next token is chosen, and the part of the pass that it comes from.
struct Chosen<K: Kernels> {
    generation: Box<Generation>,
    cache: Cache<K>,
    from: usize,
    /// Whether it has a row of its own already.
    running: bool,
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
        limits.room.check(most)?;
        let open = |&node: &usize| Work { what: What::Node { node, done: 0 }, cache: decoder.empty_cache() };
        let open = plan.roots().iter().rev().map(open).collect();
        let (running, partial) = (Vec::new(), BTreeMap::new());
        Ok(Self { decoder, tokenizer, plan, rules, limits, heights, open, running, partial })
    }

    /// Runs to the end; every answer goes to the sink as soon as its pass is done.
    pub fn run(mut self, sink: &mut Sink<'_>) -> Result<()> {
        while !(self.open.is_empty() && self.running.is_empty()) {
            if ctx::interrupted() {
                sink(Answers { whole: Vec::new(), begun: self.on_their_way() })?;
                return Err(Error::interrupted());
            }
            let parts = self.fill()?;
            sink(self.pass(parts)?)?;
        }
        Ok(())
    }

    /// All generations that have a token, as far as they are.
    fn on_their_way(&self) -> Vec<(usize, Begun)> {
        let waiting = self.open.iter().filter_map(|work| match &work.what {
            What::Generation(generation) => Some(generation),
            What::Node { .. } => None,
        });
        let all = self.running.iter().map(|(generation, _)| generation).chain(waiting);
        all.map(|generation| (generation.request, generation.so_far().clone())).collect()
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
            let affordable = self.decoder.live_bytes() + promised + needs <= self.limits.room.bytes;
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
        // What goes on from each part, and rows after which a token is chosen.
        let (mut after, mut rows, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
        for (from, part) in parts.into_iter().enumerate() {
            let last = place(part.last());
            let mut works = Vec::new();
            match part.what {
                What::Generation(generation) => {
                    rows.push(last);
                    chosen.push(Chosen { generation, cache: part.cache, from, running: true });
                }
                What::Node { node: index, done } => {
                    let (node, done) = (&plan.nodes()[index], done + part.rows);
                    if done < node.range.len() {
                        works.push(Work { what: What::Node { node: index, done }, cache: part.cache });
                    } else {
                        let child =
                            |&node: &usize| Work { what: What::Node { node, done: 0 }, cache: part.cache.clone() };
                        works.extend(node.children.iter().rev().map(child));
                        for &request in node.generates.iter().rev() {
                            let generation = Box::new(Generation::begin(plan, request)?);
                            rows.push(last);
                            chosen.push(Chosen { generation, cache: part.cache.clone(), from, running: false });
                        }
                    }
                }
            }
            after.push(works);
        }
        self.choose(&hidden, &rows, chosen, &mut after, &mut answers)?;
        // In this order: what was admitted last lies on top then and is finished first, with all that it generates. Those
        // before it were admitted without counting it, so the other order could need more than the limit.
        self.open.extend(after.into_iter().flatten());
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
        let mut answers = Answers::default();
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
                answers.whole.push((want.request, response));
            }
        }
        Ok(answers)
    }

    /// Chooses the next token of generations. Those that begin go to what comes after their part.
    fn choose(
        &mut self,
        hidden: &K::Array,
        rows: &[usize],
        chosen: Vec<Chosen<K>>,
        after: &mut [Vec<Work<K>>],
        answers: &mut Answers,
    ) -> Result<()> {
        let mut chosen = chosen.into_iter();
        for rows in rows.chunks(self.decoder.logits_at_once()) {
            let logits = self.decoder.logits(hidden, rows)?;
            let sums = self.decoder.kernels().logit_rows(&logits)?;
            for (row, (one, sum)) in chosen.by_ref().take(rows.len()).zip(sums).enumerate() {
                let Chosen { mut generation, cache, from, running } = one;
                let full = cache.length() >= self.rules.max_length;
                let logit = |token: u32| Ok(self.decoder.kernels().pick(&logits, &[(row, token as usize)])?[0]);
                let all = || self.decoder.row(&logits, row);
                let done = generation.step(self.plan, &self.rules, self.tokenizer, sum, &logit, &all, full)?;
                if done {
                    answers.whole.push((generation.request, generation.response(self.plan)?));
                    continue;
                }
                let tokens = generation.so_far().tokens.len();
                if tokens >= KEPT_FROM && tokens.is_power_of_two() {
                    answers.begun.push((generation.request, generation.so_far().clone()));
                }
                if running {
                    self.running.push((generation, cache));
                } else {
                    after[from].push(Work { what: What::Generation(generation), cache });
                }
            }
        }
        Ok(())
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
    use crate::request::{Request, Sampling, Sharing, Window};

    fn model() -> Local<Cpu> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/example/ckpts/step200");
        Local::open(std::path::Path::new(folder), cpu(2).unwrap(), &LocalOptions::default()).unwrap()
    }

    /// Two headers, each with questions of different lengths, each with answers to score or to make up, by the rule or by
    /// chance; and a text in windows.
    fn requests() -> Vec<Request> {
        let text = |from: u32, length: usize| (0..length as u32).map(move |i| (from * 31 + i * i * 7) % 90 + 3);
        let of = |header: u32, question: u32, answer: u32| {
            let prompt = text(header, 40).chain(text(10 + question, 5 + 6 * question as usize));
            let drawn = Sampling::Random { temperature: 1.3, top_p: 0.9, top_k: 40, seed: 5 };
            let asks = |max_tokens, sampling| Ask::Generate { stop: [].into(), max_tokens, sampling };
            match answer {
                0 => Request::plain(prompt.collect::<Vec<_>>(), asks(3 + question as usize, Sampling::Greedy)),
                4 => Request::plain(prompt.collect::<Vec<_>>(), asks(5, drawn)),
                _ => Request::score(prompt.chain(text(20 + answer, 6)).collect::<Vec<_>>(), 41),
            }
        };
        let windows = [(0, 30, 30), (20, 50, 20), (29, 59, 9)];
        let windows = windows.map(|(begin, end, scored)| Window { begin, end, scored }).to_vec();
        let rolled = Request::plain(text(50, 60).collect::<Vec<_>>(), Ask::Roll { windows });
        (0..2).flat_map(|h| (0..4).flat_map(move |q| (0..5).map(move |a| of(h, q, a)))).chain([rolled]).collect()
    }

    fn limits(rows: usize, bytes: usize) -> Limits {
        Limits { rows, room: Room { bytes, limit: bytes, taken: 0 } }
    }

    /// The answers, and the most bytes of keys and values that were alive after a pass.
    fn run(model: &Local<Cpu>, plan: &Plan, limits: Limits) -> Result<(BTreeMap<usize, Response>, usize)> {
        let (mut answers, mut most) = (BTreeMap::new(), 0);
        let rules = Rules { ends: &[], max_length: model.info().max_length };
        Passes::new(model.decoder(), model.tokenizer(), plan, rules, limits)?.run(&mut |part| {
            most = most.max(model.decoder().live_bytes());
            answers.extend(part.whole);
            Ok(())
        })?;
        Ok((answers, most))
    }

    /// Wherever generations are stopped, those that go on say what they would have said, also by chance, behind what they
    /// had: log-probabilities that no model gives show that it was not made again.
    #[test]
    fn generations_go_on_where_they_were_stopped() {
        let model = model();
        let plan = Plan::new(requests(), Sharing::Prefixes);
        let (whole, _) = run(&model, &plan, limits(64, usize::MAX)).unwrap();
        let rules = Rules { ends: &[], max_length: model.info().max_length };
        let path = 2 * heights(model.decoder(), &plan, &rules).into_iter().max().unwrap();
        for (stopped, sharing, bytes) in [
            (1, Sharing::Prefixes, usize::MAX),
            (2, Sharing::Nothing, usize::MAX),
            (3, Sharing::Prefixes, path),
            (4, Sharing::Prefixes, path),
        ] {
            let mut wanted = whole.clone();
            let so_far = |(index, response): (&usize, &mut Response)| match response {
                Response::Generate { tokens, log_probs, .. } if tokens.len() > stopped => {
                    log_probs[..stopped].fill(1.0);
                    let (tokens, log_probs) = (tokens[..stopped].to_vec(), log_probs[..stopped].to_vec());
                    Some((*index, Begun { tokens, log_probs }))
                }
                _ => None,
            };
            let begun: BTreeMap<usize, Begun> = wanted.iter_mut().filter_map(so_far).collect();
            assert!(begun.len() >= 4, "{stopped} tokens");
            let plan = Plan::going_on(requests(), begun, sharing);
            assert!(run(&model, &plan, limits(64, bytes)).unwrap().0 == wanted, "after {stopped} tokens");
        }
    }

    #[test]
    fn any_limit_that_one_path_fits_gives_the_same_answers_within_it() {
        let (model, plan) = (model(), Plan::new(requests(), Sharing::Prefixes));
        let rules = Rules { ends: &[], max_length: model.info().max_length };
        let path = heights(model.decoder(), &plan, &rules).into_iter().max().unwrap();
        for rows in [1, 7, 64, 4096] {
            let (free, wanted) = run(&model, &plan, limits(rows, usize::MAX)).unwrap();
            assert_eq!(free.len(), plan.requests().len());
            for kv_bytes in [path, path + path / 3, 2 * path] {
                let (bound, most) = run(&model, &plan, limits(rows, kv_bytes)).unwrap();
                assert!(bound == free, "{rows} rows, {kv_bytes} bytes: other answers");
                assert!(most <= kv_bytes, "{rows} rows: {most} bytes alive, {kv_bytes} allowed");
            }
            assert!(rows == 1 || wanted > path, "{rows} rows: the limit binds ({wanted} wanted, {path} given)");
        }
        // What is refused names a limit that is enough, for everything that it holds.
        let refused = |room: Room| run(&model, &plan, Limits { rows: 64, room }).err().map(|e| e.to_string());
        let limit = 500_000_000;
        let short = refused(Room { bytes: 0, limit, taken: limit - path + 1 }).unwrap();
        assert!(short.contains("expected a memory limit of at least 517 MB, found 500 MB"), "{short}");
        let none = refused(Room { bytes: 0, limit, taken: 800_000_000 }).unwrap();
        let least = 800_000_000 + path + (16 << 20);
        assert!(none.contains(&format!("at least {} MB", least.div_ceil(1_000_000))), "{none} {least}");
        // What others are about to take makes a run slower, and is no reason to refuse it.
        assert_eq!(refused(Room { bytes: 0, limit, taken: limit - path }), None);
        // A dry run tells no less than is alive.
        let most = run(&model, &plan, limits(model.rows(), usize::MAX)).unwrap().1;
        assert!((most..=20 * most).contains(&model.kept(&plan)), "{} foretold, {most} alive", model.kept(&plan));
        assert_eq!(model.decoder().live_bytes(), 0, "nothing is left behind");
    }
}
