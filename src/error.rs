//! The one error type of the library.

use std::fmt;
use std::path::Path;

use crate::diag::Diagnostic;

/// Everything the library can fail with: a kind, which decides the exit code, and at least one diagnostic.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    diagnostics: Vec<Diagnostic>,
}

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was given cannot be used: files, flags, suites, checkpoints (exit code 2).
    BadInput,
    /// The machine failed: disk full, permission denied (exit code 2).
    Io,
    /// The work stopped half-way and can be taken up again (exit code 3).
    Incomplete,
    /// A rule of the program itself was broken (exit code 2); please report it.
    Internal,
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, diagnostic: Diagnostic) -> Self {
        Self { kind, diagnostics: vec![diagnostic] }
    }

    /// Bad input, described by one message.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadInput, Diagnostic::new(message))
    }

    /// A rule of the program itself was broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, Diagnostic::new(message))
    }

    /// Somebody wants the program to stop; what is done is kept.
    pub fn interrupted() -> Self {
        let stopped = Diagnostic::new("interrupted").help("the same command goes on where it stopped");
        Self::new(ErrorKind::Incomplete, stopped)
    }

    /// An operating-system failure while doing `what` with `path`.
    pub fn io(what: &str, path: &Path, source: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, Diagnostic::new(format!("failed to {what}: {source}")).in_file(path))
    }

    /// Every problem that a checker collected.
    pub fn all(diagnostics: Vec<Diagnostic>) -> Self {
        Self::collected(ErrorKind::BadInput, diagnostics)
    }

    /// Several problems of one kind.
    pub fn collected(kind: ErrorKind, diagnostics: Vec<Diagnostic>) -> Self {
        debug_assert!(!diagnostics.is_empty());
        Self { kind, diagnostics }
    }

    /// `Ok(())` when nothing was collected.
    pub fn check(diagnostics: Vec<Diagnostic>) -> Result<()> {
        if diagnostics.is_empty() { Ok(()) } else { Err(Self::all(diagnostics)) }
    }

    /// Names the file on every diagnostic that has none yet.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        for diagnostic in &mut self.diagnostics {
            if diagnostic.place.as_ref().is_none_or(|place| place.file.as_os_str().is_empty()) {
                *diagnostic = diagnostic.clone().in_file(file.as_ref());
            }
        }
        self
    }

    /// Names the place on every diagnostic that has no finer one yet.
    #[must_use]
    pub fn at(mut self, detail: impl fmt::Display) -> Self {
        for diagnostic in &mut self.diagnostics {
            if diagnostic.place.as_ref().is_none_or(|place| place.detail.is_none()) {
                *diagnostic = diagnostic.clone().at(detail.to_string());
            }
        }
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(last) = self.diagnostics.last_mut() {
            last.help = Some(help.into());
        }
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::internal(format!("tensor operation failed: {error}"))
    }
}
