//! From a list of requests to the work a backend does: what several requests begin with is computed once.
//!
//! ```text
//! header ─┬─ question 1 ─┬─ answer A        every node is a run of tokens on top of its parent's keys and values;
//!         │              └─ answer B        it knows which of its rows are scored, and for whom
//!         └─ question 2 ─── ...
//! ```
//! A node is keyed by its tokens and by the interventions in force. Where the tree is cut is a matter of speed only:
//! on kernels whose rows do not depend on one another the answers have the same bits for every cut.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::ask::{Ask, Begun, Request};

/// A shared beginning shorter than this is computed again by each branch: keeping keys and values costs more than a
/// few rows of a larger pass.
const SHORTEST: usize = 4;

/// Whether requests share what they begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Prefixes,
    /// Every input stands alone; for comparison.
    Nothing,
}

/// Requests and the tree of their inputs.
#[derive(Debug)]
pub struct Plan {
    requests: Vec<Request>,
    /// Generations that go on where they were stopped; their tokens stand behind those of the prompt.
    begun: BTreeMap<usize, Begun>,
    nodes: Vec<Node>,
    roots: Vec<usize>,
    alone: Vec<usize>,
}

/// A run of tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// A request whose tokens `range` are this node's.
    pub request: usize,
    pub range: Range<usize>,
    /// Rows whose next token is asked for, by row.
    pub wants: Vec<Want>,
    /// Requests that generate from the last row on.
    pub generates: Vec<usize>,
    /// Nodes that go on from here, by their first request.
    pub children: Vec<usize>,
    /// The smallest index of a request here or below: finished items should come in their order.
    first: usize,
}

/// One scored row of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Within the node.
    pub row: usize,
    pub request: usize,
    /// Place within the request's answer.
    pub place: usize,
    pub target: u32,
}

/// One forward pass that a request needs: `tokens[offset..]` of it, with scores from row `scored` on.
struct Input<'a> {
    tokens: &'a [u32],
    request: usize,
    offset: usize,
    scored: usize,
    /// Place within the answer of the first scored row.
    place: usize,
    generates: bool,
}

impl Plan {
    pub fn new(requests: Vec<Request>, sharing: Sharing) -> Self {
        Self::going_on(requests, BTreeMap::new(), sharing)
    }

    /// A plan in which some generations go on where they were stopped.
    pub fn going_on(mut requests: Vec<Request>, begun: BTreeMap<usize, Begun>, sharing: Sharing) -> Self {
        for (&index, Begun { tokens, .. }) in &begun {
            requests[index].tokens = Arc::from([&requests[index].tokens[..], tokens].concat());
        }
        let mut plan = Self { requests: Vec::new(), begun, nodes: Vec::new(), roots: Vec::new(), alone: Vec::new() };
        // Interventions change what a prefix means: each set of them has a tree of its own.
        let mut trees: Vec<(usize, Vec<Input<'_>>)> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let inputs = inputs(index, request);
            if inputs.is_empty() {
                plan.alone.push(index);
                continue;
            }
            match trees.iter_mut().find(|(other, _)| requests[*other].edits == request.edits) {
                Some((_, tree)) => tree.extend(inputs),
                None => trees.push((index, inputs)),
            }
        }
        for (_, mut inputs) in trees {
            let tokens = |index: usize| &requests[index].tokens[..];
            if sharing == Sharing::Nothing {
                inputs.chunks(1).for_each(|input| plan.grow(input, 0, None, &tokens));
                continue;
            }
            inputs.sort_by(|a, b| a.tokens.cmp(b.tokens).then(a.request.cmp(&b.request)));
            plan.grow(&inputs, 0, None, &tokens);
        }
        plan.order();
        plan.requests = requests;
        plan
    }

    /// Adds sorted inputs, of which the first `depth` tokens are computed at `parent` already.
    fn grow<'a>(
        &mut self,
        inputs: &[Input<'_>],
        depth: usize,
        parent: Option<usize>,
        tokens: &dyn Fn(usize) -> &'a [u32],
    ) {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return };
        let shared = first.tokens.iter().zip(last.tokens).take_while(|(a, b)| a == b).count();
        // Those that are no longer than what is shared stand first.
        let whole = inputs.iter().take_while(|input| input.tokens.len() == shared).count();
        let (depth, parent) = if whole == inputs.len() || shared >= depth + SHORTEST {
            (shared, self.node(inputs, depth..shared, parent, tokens).or(parent))
        } else {
            if shared > depth {
                self.grow(&inputs[..whole], depth, parent, tokens);
            } else if let Some(parent) = parent {
                self.end(&inputs[..whole], parent);
            }
            (depth, parent)
        };
        for branch in inputs[whole..].chunk_by(|a, b| a.tokens[shared] == b.tokens[shared]) {
            self.grow(branch, depth, parent, tokens);
        }
    }

    /// Adds the node of rows `rows` of all inputs; none where there is no row.
    fn node<'a>(
        &mut self,
        inputs: &[Input<'_>],
        rows: Range<usize>,
        parent: Option<usize>,
        tokens: &dyn Fn(usize) -> &'a [u32],
    ) -> Option<usize> {
        let ending: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].tokens.len() == rows.end).collect();
        if rows.is_empty() {
            if let Some(parent) = parent {
                self.end(&inputs[..ending.len()], parent);
            }
            return None;
        }
        let mut wants = Vec::new();
        for input in inputs {
            wants.extend((rows.start.max(input.scored)..rows.end).map(|row| Want {
                row: row - rows.start,
                request: input.request,
                place: input.place + row - input.scored,
                target: tokens(input.request)[input.offset + row + 1],
            }));
        }
        wants.sort_unstable();
        let Input { request, offset, .. } = inputs[0];
        let index = self.nodes.len();
        let range = offset + rows.start..offset + rows.end;
        self.nodes.push(Node { request, range, wants, first: usize::MAX, ..Node::default() });
        self.end(&inputs[..ending.len()], index);
        match parent {
            Some(parent) => self.nodes[parent].children.push(index),
            None => self.roots.push(index),
        }
        Some(index)
    }

    /// Notes which inputs generate from the end of a node on.
    fn end(&mut self, inputs: &[Input<'_>], node: usize) {
        self.nodes[node].generates.extend(inputs.iter().filter(|input| input.generates).map(|input| input.request));
    }

    /// Puts children and roots in the order of their first requests. Children have larger indices than parents.
    fn order(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let node = &self.nodes[index];
            let below = node.children.iter().map(|&child| self.nodes[child].first);
            let own = node.wants.iter().map(|want| want.request).chain(node.generates.iter().copied());
            self.nodes[index].first = below.chain(own).min().unwrap_or(usize::MAX);
        }
        let firsts: Vec<usize> = self.nodes.iter().map(|node| node.first).collect();
        for node in &mut self.nodes {
            node.children.sort_by_key(|&child| firsts[child]);
        }
        self.roots.sort_by_key(|&root| firsts[root]);
    }

    /// Requests; the tokens of a generation that goes on are those of its prompt and those that it has so far.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// How far a generation was when it was stopped.
    pub fn begun(&self, request: usize) -> Option<&Begun> {
        self.begun.get(&request)
    }

    /// Nodes; children stand behind their parents.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Nodes without a parent, by their first request.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// Requests that are no part of the tree.
    pub fn alone(&self) -> &[usize] {
        &self.alone
    }

    /// Input tokens over all requests, as if nothing were shared.
    pub fn tokens_requested(&self) -> usize {
        self.requests.iter().map(|request| request.tokens.len()).sum()
    }

    /// Input tokens that go through the model (without those it generates).
    pub fn tokens_forwarded(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(|node| node.range.len()).sum();
        nodes + self.alone.iter().map(|&request| self.requests[request].tokens.len()).sum::<usize>()
    }

    /// Rows of logits that are computed for scores.
    pub fn rows_scored(&self) -> usize {
        let rows = |node: &Node| node.wants.chunk_by(|a, b| a.row == b.row).count();
        self.nodes.iter().map(rows).sum()
    }

    /// Tokens that generations may take at most.
    pub fn tokens_generated(&self) -> usize {
        let most = |request: &Request| match request.ask {
            Ask::Generate { max_tokens, .. } => max_tokens,
            _ => 0,
        };
        let begun: usize = self.begun.values().map(|begun| begun.tokens.len()).sum();
        self.requests.iter().map(most).sum::<usize>().saturating_sub(begun)
    }
}

/// The passes of a request that can share a beginning with others; none for requests of other kinds.
fn inputs(index: usize, request: &Request) -> Vec<Input<'_>> {
    let tokens = &request.tokens[..];
    match &request.ask {
        // The last token of a continuation is never an input.
        Ask::Score { start } => vec![Input {
            tokens: &tokens[..tokens.len() - 1],
            request: index,
            offset: 0,
            scored: start - 1,
            place: 0,
            generates: false,
        }],
        Ask::Roll { windows } => {
            let mut place = 0;
            let input = |window: &super::Window| {
                let scored = window.end - window.begin - window.scored;
                place += window.scored;
                Input {
                    tokens: &tokens[window.begin..window.end],
                    request: index,
                    offset: window.begin,
                    scored,
                    place: place - window.scored,
                    generates: false,
                }
            };
            windows.iter().map(input).collect()
        }
        Ask::Generate { .. } if !tokens.is_empty() => {
            vec![Input { tokens, request: index, offset: 0, scored: usize::MAX, place: 0, generates: true }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Edit, EditOp, Positions, Sampling, Site, Window};
    use proptest::prelude::*;

    /// Follows every path and collects what is asked on it: each scored place of each request exactly once, after the
    /// tokens that stand before its target.
    fn check(plan: &Plan) {
        let mut places: Vec<Vec<usize>> = plan.requests.iter().map(|_| Vec::new()).collect();
        let mut generated = vec![0; plan.requests.len()];
        let mut stack: Vec<(usize, Vec<u32>)> = plan.roots.iter().map(|&root| (root, Vec::new())).collect();
        while let Some((index, mut path)) = stack.pop() {
            let node = &plan.nodes[index];
            let depth = path.len();
            path.extend(&plan.requests[node.request].tokens[node.range.clone()]);
            for want in &node.wants {
                let request = &plan.requests[want.request];
                let before = &path[..=depth + want.row];
                let (begin, target) = match &request.ask {
                    Ask::Score { start } => (0, start + want.place),
                    Ask::Roll { windows } => {
                        let mut place = want.place;
                        let window = windows.iter().find(|w| {
                            let here = place < w.scored;
                            place = place.saturating_sub(if here { 0 } else { w.scored });
                            here
                        });
                        let window = window.unwrap();
                        (window.begin, window.end - window.scored + 1 + place)
                    }
                    _ => panic!("a score for another kind of request"),
                };
                assert_eq!(before, &request.tokens[begin..target]);
                assert_eq!(want.target, request.tokens[target]);
                assert_eq!(request.edits, plan.requests[node.request].edits);
                places[want.request].push(want.place);
            }
            for &request in &node.generates {
                assert_eq!(path, &plan.requests[request].tokens[..]);
                generated[request] += 1;
            }
            stack.extend(node.children.iter().map(|&child| (child, path.clone())));
        }
        for (index, request) in plan.requests.iter().enumerate() {
            let expected = match &request.ask {
                Ask::Score { start } => request.tokens.len() - start,
                Ask::Roll { windows } => windows.iter().map(|w| w.scored).sum(),
                _ => 0,
            };
            places[index].sort_unstable();
            assert_eq!(places[index], (0..expected).collect::<Vec<_>>(), "request {index}");
            assert_eq!(generated[index], usize::from(matches!(request.ask, Ask::Generate { .. })));
        }
    }

    fn long(header: u32, tail: &[u32]) -> Vec<u32> {
        (0..40).map(|i| header + i).chain(tail.iter().copied()).collect()
    }

    fn generate() -> Ask {
        Ask::Generate { stop: vec![], max_tokens: 3, sampling: Sampling::Greedy }
    }

    #[test]
    fn what_is_shared_is_one_node() {
        let steer = Edit { site: Site::Embed, positions: Positions::All, head: None, op: EditOp::Scale(2.0) };
        let plan = Plan::new(
            vec![
                Request::score(long(0, &[1, 2, 100]), 42),
                Request::score(long(0, &[1, 2, 101]), 42),
                Request::score(long(0, &[7, 8, 9]), 41),
                Request::plain(long(0, &[]), generate()),
                Request::score(long(0, &[1, 2, 100]), 42).with_edits([steer]),
                Request::plain([5, 6], Ask::Capture { sites: vec![] }),
            ],
            Sharing::Prefixes,
        );
        check(&plan);
        assert_eq!((plan.roots(), plan.alone()), (&[0, 3][..], &[5][..]));
        let header = &plan.nodes[0];
        assert_eq!((header.range.clone(), &header.generates[..], header.children.len()), (0..40, &[3][..], 2));
        let question = &plan.nodes[header.children[0]];
        assert_eq!(question.wants.iter().map(|want| want.target).collect::<Vec<_>>(), [100, 101]);
        assert_eq!(plan.tokens_forwarded(), (40 + 2 + 2) + 42 + 2);
        assert_eq!(plan.rows_scored(), 1 + 2 + 1);
    }

    #[test]
    fn short_beginnings_are_computed_again_and_nothing_is_shared_where_asked() {
        let requests =
            || vec![Request::score([1, 2, 3, 9], 3), Request::score([1, 2, 4, 9], 3), Request::score([1, 9], 1)];
        let plan = Plan::new(requests(), Sharing::Prefixes);
        check(&plan);
        assert_eq!(plan.roots().len(), 3);
        let twice = || vec![Request::score(long(0, &[1]), 40), Request::score(long(0, &[2]), 40)];
        assert_eq!(Plan::new(twice(), Sharing::Prefixes).tokens_forwarded(), 40);
        let apart = Plan::new(twice(), Sharing::Nothing);
        check(&apart);
        assert_eq!((apart.roots().len(), apart.tokens_forwarded()), (2, 80));
    }

    proptest! {
        #[test]
        fn any_requests_make_a_tree(
            lists in prop::collection::vec((prop::collection::vec(0u32..3, 2..60), 0u8..3), 1..40),
            cut in 1usize..50,
            shared in any::<bool>(),
        ) {
            let requests = lists.iter().map(|(tokens, kind)| match kind {
                0 => Request::score(tokens.clone(), cut.min(tokens.len() - 1)),
                1 => Request::plain(tokens.clone(), generate()),
                _ => {
                    let middle = tokens.len() / 2;
                    let first = Window { begin: 0, end: middle, scored: middle };
                    let rest = Window { begin: middle / 2, end: tokens.len() - 1, scored: tokens.len() - 1 - middle };
                    let windows = [first, rest].into_iter().filter(|window| window.scored > 0).collect();
                    Request::plain(tokens.clone(), Ask::Roll { windows })
                }
            });
            let sharing = if shared { Sharing::Prefixes } else { Sharing::Nothing };
            let plan = Plan::new(requests.collect(), sharing);
            check(&plan);
            prop_assert!(plan.tokens_forwarded() <= 2 * plan.tokens_requested());
        }
    }
}
