//! Errors on standard error: with an excerpt where a diagnostic points into a file, else in one line.

use std::io::{IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::printable;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind};

/// Problems that are printed; more of them have one cause.
const MOST: usize = 30;

pub(super) fn print(error: &Error) {
    let mut err = std::io::stderr().lock();
    let renderer = if err.is_terminal() { Renderer::styled() } else { Renderer::plain() };
    for diagnostic in error.diagnostics().iter().take(MOST) {
        // Nothing can be done about a standard error that cannot be written to.
        let _ = writeln!(err, "{}", render(diagnostic, &renderer));
    }
    if error.diagnostics().len() > MOST {
        let _ = writeln!(err, "and {} more problems", error.diagnostics().len() - MOST);
    }
    if error.kind() == ErrorKind::Internal {
        let _ = writeln!(err, "this is a fault of veval itself; please report it");
    }
}

fn render(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let place = diagnostic.place.as_ref();
    if let Some((source, span, place)) =
        place.and_then(|place| Some((place.source.as_deref()?, place.span.clone()?, place)))
    {
        let path = printable(&place.file.display().to_string());
        let span = span.start.min(source.len())..span.end.min(source.len());
        let source = same_length(source);
        let snippet = Snippet::source(&source).path(path).annotation(AnnotationKind::Primary.span(span));
        let mut groups: Vec<Group<'_>> =
            vec![Level::ERROR.primary_title(printable(&diagnostic.message)).element(snippet)];
        if let Some(help) = &diagnostic.help {
            groups.push(Group::with_title(Level::HELP.secondary_title(printable(help))));
        }
        return renderer.render(&groups);
    }
    let mut text = String::from("error: ");
    if let Some(place) = place {
        text += &printable(&format!("{place}: "));
    }
    text += &printable(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        text += &printable(&format!("\n  help: {help}"));
    }
    text
}

/// Control characters of a source replaced by others of as many bytes, so that spans stay where they are.
fn same_length(source: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' | '\r' => c,
        c if c.is_ascii_control() => '?',
        c if c.is_control() => '\u{bf}',
        c => c,
    };
    source.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_keeps_its_length() {
        let source = "a\u{1b}[2J\u{9b}b\r\n\tc";
        let shown = same_length(source);
        assert_eq!((shown.len(), shown.as_str()), (source.len(), "a?[2J\u{bf}b\r\n\tc"));
    }
}
