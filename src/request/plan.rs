//! From a list of requests to the work a backend does: what several requests begin with is computed once.
//!
//! ```text
//! header ─┬─ question 1 ─┬─ answer A        every node is one forward pass over its own tokens, on top of its
//!         │              └─ answer B        parent's keys and values; requests hang where their context ends
//!         └─ question 2 ─── ...
//! ```
//! A node is keyed by its tokens and by the interventions in force. Where the tree is cut is a matter of speed only:
//! on kernels whose rows do not depend on one another the answers have the same bits for every cut.

use std::ops::Range;

use super::ask::{Ask, Request};

/// A shared beginning shorter than this is computed again by each branch: a pass of a few rows costs more than it saves.
const SHORTEST: usize = 16;

/// Requests and the tree of their contexts.
#[derive(Debug)]
pub struct Plan {
    requests: Vec<Request>,
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

/// One forward pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// A request whose tokens `range` are this node's.
    pub request: usize,
    pub range: Range<usize>,
    /// Requests whose context ends with this node. Scores: their continuations follow. Generations: the prompt is
    /// here. Requests of other kinds stand alone, in a node without tokens.
    pub ending: Vec<usize>,
    /// Nodes that go on from here, by their first request.
    pub children: Vec<usize>,
    /// The smallest index of a request here or below: finished items should come in their order.
    first: usize,
}

/// A context and the request that has it.
struct Context<'a> {
    tokens: &'a [u32],
    request: usize,
}

impl Plan {
    pub fn new(requests: Vec<Request>) -> Self {
        let mut plan = Self { requests: Vec::new(), nodes: Vec::new(), roots: Vec::new() };
        // Interventions change what a prefix means: each set of them has a tree of its own.
        let mut trees: Vec<(usize, Vec<Context<'_>>)> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let tokens = match request.ask {
                Ask::Score { start } => &request.tokens[..start],
                Ask::Generate { .. } => &request.tokens[..],
                _ => {
                    let alone = Node { request: index, ending: vec![index], first: index, ..Node::default() };
                    plan.roots.push(plan.nodes.len());
                    plan.nodes.push(alone);
                    continue;
                }
            };
            let context = Context { tokens, request: index };
            match trees.iter_mut().find(|(other, _)| requests[*other].edits == request.edits) {
                Some((_, tree)) => tree.push(context),
                None => trees.push((index, vec![context])),
            }
        }
        for (_, mut contexts) in trees {
            contexts.sort_by(|a, b| a.tokens.cmp(b.tokens).then(a.request.cmp(&b.request)));
            plan.grow(&contexts, 0, None);
        }
        plan.order();
        plan.requests = requests;
        plan
    }

    /// Adds sorted contexts, of which the first `depth` tokens are computed at `parent` already.
    fn grow(&mut self, contexts: &[Context<'_>], depth: usize, parent: Option<usize>) {
        let (Some(first), Some(last)) = (contexts.first(), contexts.last()) else { return };
        let shared = first.tokens.iter().zip(last.tokens).take_while(|(a, b)| a == b).count();
        let whole = shared == first.tokens.len();
        let same = contexts.iter().take_while(|context| context.tokens.len() == shared).count();
        // All of them are one context, or they share enough: a node of their own.
        let (depth, parent) = if same == contexts.len() || (shared >= depth + SHORTEST) {
            let ending =
                if whole { contexts[..same].iter().map(|context| context.request).collect() } else { Vec::new() };
            let node =
                self.add(Node { request: first.request, range: depth..shared, ending, ..Node::default() }, parent);
            (shared, Some(node))
        } else {
            if whole {
                self.grow(&contexts[..same], depth, parent);
            }
            (depth, parent)
        };
        let rest = &contexts[if whole { same } else { 0 }..];
        for branch in rest.chunk_by(|a, b| a.tokens[shared] == b.tokens[shared]) {
            self.grow(branch, depth, parent);
        }
    }

    fn add(&mut self, node: Node, parent: Option<usize>) -> usize {
        let index = self.nodes.len();
        self.nodes.push(node);
        match parent {
            Some(parent) => self.nodes[parent].children.push(index),
            None => self.roots.push(index),
        }
        index
    }

    /// Puts children and roots in the order of their first requests. Children have larger indices than parents.
    fn order(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let below = self.nodes[index].children.iter().map(|&child| self.nodes[child].first);
            let first = below.chain(self.nodes[index].ending.iter().copied()).min();
            self.nodes[index].first = first.unwrap_or(usize::MAX);
        }
        let firsts: Vec<usize> = self.nodes.iter().map(|node| node.first).collect();
        for node in &mut self.nodes {
            node.children.sort_by_key(|&child| firsts[child]);
        }
        self.roots.sort_by_key(|&root| firsts[root]);
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Nodes without a parent, by their first request.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// Input tokens over all requests, as if nothing were shared.
    pub fn tokens_requested(&self) -> usize {
        self.requests.iter().map(|request| request.tokens.len()).sum()
    }

    /// Input tokens that go through the model (without those it generates).
    pub fn tokens_forwarded(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(|node| node.range.len()).sum();
        let besides = self.requests.iter().map(|request| match &request.ask {
            // The last token of a continuation is never an input.
            Ask::Score { start } => request.tokens.len() - 1 - start,
            Ask::Generate { .. } => 0,
            Ask::Roll { windows } => windows.iter().map(|window| window.end - window.begin).sum(),
            _ => request.tokens.len(),
        });
        nodes + besides.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Edit, EditOp, Positions, Sampling, Site};
    use proptest::prelude::*;

    /// Every request ends at exactly one node, and the tokens on the way there are its context.
    fn check(plan: &Plan) {
        let mut seen = vec![0; plan.requests.len()];
        let mut stack: Vec<(usize, Vec<u32>)> = plan.roots.iter().map(|&root| (root, Vec::new())).collect();
        while let Some((index, mut path)) = stack.pop() {
            let node = plan.node(index);
            path.extend(&plan.requests[node.request].tokens[node.range.clone()]);
            for &request in &node.ending {
                seen[request] += 1;
                let context = match plan.requests[request].ask {
                    Ask::Score { start } => &plan.requests[request].tokens[..start],
                    Ask::Generate { .. } => &plan.requests[request].tokens[..],
                    _ => &[],
                };
                assert_eq!(path, context);
                assert_eq!(plan.requests[request].edits, plan.requests[node.request].edits);
            }
            stack.extend(node.children.iter().map(|&child| (child, path.clone())));
        }
        assert!(seen.iter().all(|&count| count == 1), "{seen:?}");
    }

    fn long(header: u32, tail: &[u32]) -> Vec<u32> {
        (0..40).map(|i| header + i).chain(tail.iter().copied()).collect()
    }

    #[test]
    fn what_is_shared_is_one_node() {
        let steer = Edit { site: Site::Embed, positions: Positions::All, head: None, op: EditOp::Scale(2.0) };
        let generate = Ask::Generate { stop: vec![], max_tokens: 3, sampling: Sampling::Greedy };
        let plan = Plan::new(vec![
            Request::score(long(0, &[1, 2, 100]), 42),
            Request::score(long(0, &[1, 2, 101]), 42),
            Request::score(long(0, &[7, 8, 9]), 41),
            Request::plain(long(0, &[]), generate),
            Request::score(long(0, &[1, 2, 100]), 42).with_edits([steer]),
            Request::plain([5, 6], Ask::Capture { sites: vec![] }),
        ]);
        check(&plan);
        assert_eq!(plan.roots().len(), 3);
        let header = plan.node(plan.roots()[0]);
        assert_eq!((header.range.clone(), header.ending.clone(), header.children.len()), (0..40, vec![3], 2));
        assert_eq!(plan.node(header.children[0]).ending, [0, 1]);
        assert_eq!(plan.tokens_forwarded(), (40 + 2 + 1 + 1) + 42 + 2);
    }

    #[test]
    fn short_beginnings_are_computed_again() {
        let plan = Plan::new(vec![
            Request::score([1, 2, 3, 9], 3),
            Request::score([1, 2, 4, 9], 3),
            Request::score([1, 9], 1),
        ]);
        check(&plan);
        assert_eq!(plan.roots().len(), 3);
    }

    proptest! {
        #[test]
        fn any_requests_make_a_tree(lists in prop::collection::vec(prop::collection::vec(0u32..3, 2..60), 1..40), cut in 1usize..50) {
            let requests = lists.iter().map(|tokens| Request::score(tokens.clone(), cut.min(tokens.len() - 1))).collect();
            let plan = Plan::new(requests);
            check(&plan);
            prop_assert!(plan.tokens_forwarded() <= plan.tokens_requested());
        }
    }
}
