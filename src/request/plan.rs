//! From a list of requests to the work a backend does: requests that need the same forward pass are put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ask::{Ask, Request};

/// Groups of requests, in the order of their first members.
///
/// Scores whose inputs are the same tokens under the same interventions share one forward pass: the input of a score
/// is all tokens but the last, so the four one-letter answers of an MMLU question are one pass. What a member gets
/// does not depend on who else is in its group.
#[derive(Debug)]
pub struct Plan {
    requests: Vec<Request>,
    groups: Vec<Vec<usize>>,
}

impl Plan {
    pub fn new(requests: Vec<Request>) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut by_input: BTreeMap<Arc<[u32]>, Vec<usize>> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            if !matches!(request.ask, Ask::Score { .. }) {
                groups.push(vec![index]);
                continue;
            }
            let input: Arc<[u32]> = request.tokens[..request.tokens.len() - 1].into();
            let known = by_input.entry(input).or_default();
            match known.iter().find(|&&group| requests[groups[group][0]].edits == request.edits) {
                Some(&group) => groups[group].push(index),
                None => {
                    known.push(groups.len());
                    groups.push(vec![index]);
                }
            }
        }
        Self { requests, groups }
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Indices into `requests`; every index is in exactly one group.
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    /// Input tokens over all requests, as if nothing were shared.
    pub fn tokens_requested(&self) -> usize {
        self.requests.iter().map(|request| request.tokens.len()).sum()
    }

    /// Input tokens that go through the model (without those it generates).
    pub fn tokens_forwarded(&self) -> usize {
        self.groups.iter().map(|group| self.requests[group[0]].tokens.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Edit, EditOp, Positions, Sampling, Site};

    #[test]
    fn scores_with_one_input_share_a_pass() {
        let steer = Edit { site: Site::Embed, positions: Positions::All, head: None, op: EditOp::Scale(2.0) };
        let generate = Ask::Generate { stop: vec![], max_tokens: 3, sampling: Sampling::Greedy };
        let plan = Plan::new(vec![
            Request::score([1, 2, 3], 2),
            Request::score([1, 2, 4], 2),
            Request::plain([1, 2, 3], generate),
            Request::score([1, 2, 4], 2).with_edits([steer.clone()]),
            Request::score([1, 9, 4], 2),
            Request::score([1, 2, 5], 1).with_edits([steer]),
        ]);
        assert_eq!(plan.groups(), [vec![0, 1], vec![2], vec![3, 5], vec![4]]);
        assert_eq!((plan.tokens_requested(), plan.tokens_forwarded()), (18, 12));
    }
}
