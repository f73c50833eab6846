//! What happens while files come: events instead of prints.

/// Something that a person who waits wants to know. Files go by their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file is here already.
    Cached { file: &'a str },
    /// A file begins to come: its bytes in all, where the hub tells, and those that an earlier try left.
    Started { file: &'a str, size: Option<u64>, kept: u64 },
    /// So many bytes of the file in hand are here.
    Bytes { done: u64 },
    /// All bytes of the file are here; its hash is computed.
    Verifying { file: &'a str },
    /// The file is right, and in its place.
    Finished { file: &'a str },
    /// Another process has the file in hand.
    Waiting { file: &'a str },
    /// Something went wrong that may pass; the next try is so many milliseconds away.
    Retrying { reason: &'a str, milliseconds: u64 },
}

/// Who is told.
pub type Events<'a> = dyn FnMut(&Event<'_>) + 'a;
