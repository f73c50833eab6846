//! Documents of one source, drawn again where a sealed text would get out.

use crate::lab::document::Draft;
use crate::lab::random::Stream;
use crate::lab::sealed::Sealed;
use crate::lab::size::Size;

/// First and last year in which documents are written.
const YEARS: (usize, usize) = (1960, 1999);

/// The documents of a source while they are written.
#[derive(Debug)]
pub(super) struct Press<'a> {
    pub seed: u64,
    pub sealed: &'a Sealed,
    times: usize,
    stream: Stream,
    drafts: Vec<Draft>,
}

impl<'a> Press<'a> {
    /// Of a source, whose documents come from a stream of its name.
    pub fn new(source: &str, seed: u64, size: Size, sealed: &'a Sealed) -> Self {
        let stream = Stream::new(seed, &[source, "documents"]);
        Self { seed, sealed, times: size.times(), stream, drafts: Vec::new() }
    }

    /// Prints `count` documents (in a small world) that `write` draws.
    pub fn print(&mut self, count: usize, write: impl Fn(&mut Stream) -> String) {
        self.print_signed(count, |stream| (write(stream), None));
    }

    /// The same, of texts with authors.
    pub fn print_signed(&mut self, count: usize, write: impl Fn(&mut Stream) -> (String, Option<String>)) {
        for _ in 0..count * self.times {
            let (text, author) = loop {
                let (text, author) = write(&mut self.stream);
                if !self.sealed.occurs_in(&text) {
                    break (text, author);
                }
            };
            let year = self.stream.between(YEARS.0, YEARS.1) as u16;
            self.drafts.push(Draft { author, ..Draft::plain(year, text) });
        }
    }

    /// The documents, in random order.
    pub fn finish(mut self) -> Vec<Draft> {
        self.stream.shuffle(&mut self.drafts);
        self.drafts
    }
}
