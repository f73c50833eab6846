//! What happens during a run, for whoever shows or logs it.

use std::path::Path;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A checkpoint's weights are being read.
    Loading {
        checkpoint: &'a str,
    },
    /// Work begins: items, how many of them an interrupted run has recorded, and input tokens that will go through
    /// the model.
    Planned {
        checkpoint: &'a str,
        items: usize,
        done: usize,
        tokens_requested: usize,
        tokens_forwarded: usize,
    },
    /// Items are finished and recorded.
    Items {
        done: usize,
    },
    /// A complete record of the very same work is there already.
    AlreadyScored {
        checkpoint: &'a str,
    },
    Finished {
        checkpoint: &'a str,
        folder: &'a Path,
    },
}

/// A listener.
pub trait Events {
    fn event(&mut self, event: &Event<'_>);
}

/// Listens to nothing.
pub struct Silent;

impl Events for Silent {
    fn event(&mut self, _: &Event<'_>) {}
}
