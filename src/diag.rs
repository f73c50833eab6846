//! Diagnostics as values: what is wrong, where, and what to do about it.
//!
//! A checker collects as many [`Diagnostic`]s as it can find and returns them together inside one
//! [`crate::Error`]. Rendering (colours, source excerpts) belongs to `cli`; the plain `Display` here is what logs
//! and tests see.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One problem. The message is a lower-case fragment that states what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub message: String,
    pub place: Option<Place>,
    /// One concrete thing to do.
    pub help: Option<String>,
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// Finer than the file: `tensor model.norm.weight`, `line 7`, `item 3`.
    pub detail: Option<String>,
    /// Bytes of `source`, for an excerpt.
    pub span: Option<Range<usize>>,
    pub source: Option<Arc<str>>,
}

impl Diagnostic {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, help: None }
    }

    /// Names the file, keeping a detail that was set before.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.place_mut().file = file.as_ref().to_path_buf();
        self
    }

    /// Names the place within the file in words.
    #[must_use]
    pub fn at(mut self, detail: impl Into<String>) -> Self {
        self.place_mut().detail = Some(detail.into());
        self
    }

    /// Points into the text of the file.
    #[must_use]
    pub fn spanning(mut self, source: Arc<str>, span: Range<usize>) -> Self {
        let place = self.place_mut();
        place.source = Some(source);
        place.span = Some(span);
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn place_mut(&mut self) -> &mut Place {
        self.place.get_or_insert_with(|| Place { file: PathBuf::new(), detail: None, span: None, source: None })
    }
}

impl Place {
    /// Line and column (both from 1, columns in characters) of the span's start.
    #[must_use]
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let (source, span) = (self.source.as_deref()?, self.span.as_ref()?);
        let before = source.get(..span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Some((line, column))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.line_column() {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(detail) = &self.detail {
            let comma = if self.file.as_os_str().is_empty() { "" } else { ", " };
            write!(f, "{comma}{detail}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_file_line_and_help() {
        let source: Arc<str> = "a = 1\nbb = 2\n".into();
        let diagnostic =
            Diagnostic::new("unknown key `bb`").in_file("s.toml").spanning(source, 6..8).help("did you mean `b`?");
        assert_eq!(diagnostic.to_string(), "s.toml:2:1: unknown key `bb`\n  help: did you mean `b`?");
        let diagnostic = Diagnostic::new("is NaN").at("tensor w").in_file("m.safetensors");
        assert_eq!(diagnostic.to_string(), "m.safetensors, tensor w: is NaN");
    }
}
