//! From a list of requests to the work a backend does: requests that need the same forward pass are put together.

use std::collections::BTreeMap;

use super::ask::{Ask, Request};

/// Groups of requests, in the order of their first members.
///
/// A score is two passes: its context, then its continuation over the context's keys and values. Scores with the same
/// context under the same interventions share the first, so the four answers of a question read it once. The cut lies
/// where the request says, never where a neighbour happens to agree: what a member gets does not depend on who else is
/// in its group.
#[derive(Debug)]
pub struct Plan {
    requests: Vec<Request>,
    groups: Vec<Vec<usize>>,
}

impl Plan {
    pub fn new(requests: Vec<Request>) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut by_context: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            let Ask::Score { start } = request.ask else {
                groups.push(vec![index]);
                continue;
            };
            let known = by_context.entry(&request.tokens[..start]).or_default();
            if let Some(&group) = known.iter().find(|&&group| requests[groups[group][0]].edits == request.edits) {
                groups[group].push(index);
            } else {
                known.push(groups.len());
                groups.push(vec![index]);
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
        let group = |group: &Vec<usize>| match self.requests[group[0]].ask {
            // The last token of a continuation is never an input.
            Ask::Score { start } => {
                start + group.iter().map(|&index| self.requests[index].tokens.len() - 1 - start).sum::<usize>()
            }
            _ => self.requests[group[0]].tokens.len(),
        };
        self.groups.iter().map(group).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Edit, EditOp, Positions, Sampling, Site};

    #[test]
    fn scores_with_one_context_share_a_pass() {
        let steer = Edit { site: Site::Embed, positions: Positions::All, head: None, op: EditOp::Scale(2.0) };
        let generate = Ask::Generate { stop: vec![], max_tokens: 3, sampling: Sampling::Greedy };
        let plan = Plan::new(vec![
            Request::score([1, 2, 3], 2),
            Request::score([1, 2, 4], 2),
            Request::plain([1, 2, 3], generate),
            Request::score([1, 2, 4], 2).with_edits([steer.clone()]),
            Request::score([1, 9, 4], 2),
            Request::score([1, 2, 5, 6], 2).with_edits([steer]),
            Request::score([1, 2, 3], 1),
        ]);
        assert_eq!(plan.groups(), [vec![0, 1], vec![2], vec![3, 5], vec![4], vec![6]]);
        assert_eq!((plan.tokens_requested(), plan.tokens_forwarded()), (22, 2 + 3 + 3 + 2 + 2));
    }
}
