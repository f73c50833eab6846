//! Walking a plan's tree on several threads.
//!
//! A node runs after its parent, with what the parent left. Threads take the youngest open node, so that a branch is
//! finished before the next one begins: what parents leave behind (keys and values) lives only as long as a branch
//! below them is open.

use std::sync::{Arc, Condvar, Mutex, mpsc};

use super::Sink;
use crate::error::Result;
use crate::request::{Plan, Response};

/// Answers that may wait for the sink, per thread.
const BACKLOG: usize = 64;

/// A node that may run, and what its parent left.
struct Open<C> {
    node: usize,
    parent: Option<Arc<C>>,
}

/// The open nodes. `running` counts nodes that are being visited and may open others.
struct Board<C> {
    open: Vec<Open<C>>,
    running: usize,
    stopped: bool,
}

/// Answers of one node.
pub(super) type Answers = Vec<(usize, Response)>;

/// Visits every node of the plan and hands the answers to the sink; stops at the first error of either.
pub(super) fn walk<C: Send + Sync>(
    plan: &Plan,
    threads: usize,
    visit: impl Fn(usize, Option<&C>) -> Result<(C, Answers)> + Sync,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let open = plan.roots().iter().rev().map(|&node| Open { node, parent: None }).collect();
    let board = Mutex::new(Board { open, running: 0, stopped: false });
    let changed = Condvar::new();
    let (sender, receiver) = mpsc::sync_channel(threads * BACKLOG);
    let lock = || board.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let take = || {
        let mut board = lock();
        loop {
            if board.stopped || (board.open.is_empty() && board.running == 0) {
                return None;
            }
            if let Some(open) = board.open.pop() {
                board.running += 1;
                return Some(open);
            }
            board = changed.wait(board).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    };
    let work = |sender: mpsc::SyncSender<Result<Answers>>| {
        while let Some(Open { node, parent }) = take() {
            let visited = visit(node, parent.as_deref());
            drop(parent);
            let answers = visited.map(|(left, answers)| {
                let left = Arc::new(left);
                let children = plan.node(node).children.iter().rev();
                lock().open.extend(children.map(|&node| Open { node, parent: Some(Arc::clone(&left)) }));
                answers
            });
            lock().running -= 1;
            changed.notify_all();
            // The receiver is gone only when the run has failed already.
            if sender.send(answers).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let work = &work;
            scope.spawn(move || work(sender));
        }
        drop(sender);
        let result = receiver.iter().try_for_each(|answers| {
            let answers: Answers = answers?;
            answers.into_iter().try_for_each(|(index, response)| sink(index, response))
        });
        lock().stopped = true;
        changed.notify_all();
        drop(receiver);
        result
    })
}
