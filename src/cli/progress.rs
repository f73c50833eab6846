//! Progress on standard error: a bar with rate and time left on a terminal, nothing elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::ctx;
use crate::lm::shown_bytes;
use crate::run::{Event, Events};

/// A bar over items, of which some are done already; nothing but on a terminal.
pub(super) fn items_bar(count: usize, done: usize, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} items, {per_sec}, {eta} left");
    let bar = ProgressBar::new(count as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(done as u64);
    // The rate is that of what comes now.
    bar.reset_eta();
    bar
}

/// Says, when work is done, how much memory it took at most.
pub(super) fn peak_memory(quiet: bool) {
    if let (false, Some(peak)) = (quiet, ctx::memory_peak()) {
        eprintln!("peak memory {}", shown_bytes(peak));
    }
}

/// Shows a run as it goes.
pub(super) struct Progress {
    shown: bool,
    bar: ProgressBar,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), bar: ProgressBar::hidden() }
    }

    /// Which kernels run.
    pub fn kernels(&self, name: &str) {
        self.say(name);
    }

    fn say(&self, text: &str) {
        if self.shown {
            eprintln!("{text}");
        }
    }
}

impl Events for Progress {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Loading { checkpoint } => self.say(&format!("{checkpoint}: loading")),
            Event::Planned { checkpoint, items, done, tokens_requested, tokens_forwarded } => {
                if *done > 0 {
                    self.say(&format!("{checkpoint}: {done} items are answered already"));
                }
                self.say(&format!("{checkpoint}: {items} items, {tokens_requested} tokens of which {tokens_forwarded} go through the model"));
                self.bar = items_bar(*items, 0, !self.shown);
            }
            Event::Items { done } => self.bar.set_position(*done as u64),
            Event::AlreadyScored { checkpoint } => self.say(&format!("{checkpoint}: scored already")),
            Event::Finished { checkpoint, folder } => {
                self.bar.finish_and_clear();
                self.say(&format!("{checkpoint}: {}", folder.display()));
            }
        }
    }
}
