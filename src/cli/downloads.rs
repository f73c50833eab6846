//! Downloads on standard error: a bar for each file on a terminal, nothing elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::printable;
use crate::hub::Event;

/// Shows files as they come.
pub(super) struct Downloads {
    shown: bool,
    bar: ProgressBar,
}

impl Downloads {
    pub fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), bar: ProgressBar::hidden() }
    }

    pub fn event(&mut self, event: &Event<'_>) {
        if !self.shown {
            return;
        }
        match event {
            Event::Cached { file } => self.say(&format!("{file}: here already")),
            Event::Waiting { file } => self.say(&format!("{file}: waiting for another process that fetches it")),
            Event::Retrying { reason, milliseconds } => {
                self.say(&format!("{reason}; again in {:.1} s", *milliseconds as f64 / 1000.0));
            }
            Event::Started { file, size, kept } => {
                self.say(file);
                let template = "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
                let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
                self.bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style);
                self.bar.set_position(*kept);
                // The rate is that of what comes now.
                self.bar.reset_eta();
            }
            Event::Bytes { done } => self.bar.set_position(*done),
            Event::Verifying { .. } | Event::Finished { .. } => self.bar.finish_and_clear(),
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{}", printable(text)));
    }
}
