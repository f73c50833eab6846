//! Templates: text with slots such as `{s}` and `{s:him}`.

/// Which form of a name or a pronoun a slot takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// `she`
    Subject,
    /// `her`: `{s:him}`
    Object,
    /// `her`, `Mira's`: `{s:his}`
    Possessive,
    /// Any name, never a pronoun: `{s:name}`
    Name,
    /// As a friend calls out, never a pronoun: `{s:call}`
    Call,
}

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Slot(&'a str, Case),
}

/// Cuts a template into its parts. A brace that is never closed is text.
pub(super) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((before, (slot, after))) =
        rest.split_once('{').and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let (key, case) = slot.split_once(':').unwrap_or((slot, ""));
        let case = match case {
            "him" => Case::Object,
            "his" => Case::Possessive,
            "name" => Case::Name,
            "call" => Case::Call,
            _ => Case::Subject,
        };
        pieces.push(Piece::Slot(key, case));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}
