//! Errors on standard error: with an excerpt where a diagnostic points into a file, else in one line.

use std::io::{IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

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
        let path = place.file.display().to_string();
        let span = span.start.min(source.len())..span.end.min(source.len());
        let snippet = Snippet::source(source).path(path).annotation(AnnotationKind::Primary.span(span));
        let mut groups: Vec<Group<'_>> = vec![Level::ERROR.primary_title(clean(&diagnostic.message)).element(snippet)];
        if let Some(help) = &diagnostic.help {
            groups.push(Group::with_title(Level::HELP.secondary_title(clean(help))));
        }
        return renderer.render(&groups);
    }
    let mut text = String::from("error: ");
    if let Some(place) = place {
        text += &clean(&format!("{place}: "));
    }
    text += &clean(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        text += &clean(&format!("\n  help: {help}"));
    }
    text
}

/// Control characters of model files and data must not reach a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
