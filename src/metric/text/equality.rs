//! Whether an answer is, begins with, or ends with a reference.

use crate::util::python::strip;

/// Which part of the answer must be the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    Prefix,
    Suffix,
}

/// Whether the answer matches a reference, after `normalise` on both. An empty answer matches nothing, as in HELM and lighteval;
/// a reference that becomes empty is the beginning and the end of everything else.
pub fn matches(part: Part, answer: &str, reference: &str, normalise: impl Fn(&str) -> String) -> bool {
    if answer.is_empty() {
        return false;
    }
    let (answer, reference) = (normalise(answer), normalise(reference));
    match part {
        Part::Whole => answer == reference,
        Part::Prefix => answer.starts_with(&reference),
        Part::Suffix => answer.ends_with(&reference),
    }
}

/// White space around a text is ignored.
pub fn stripped(text: &str) -> String {
    strip(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::text::normalise::squad;

    #[test]
    fn parts() {
        assert!(matches(Part::Whole, " Paris\n", "Paris", stripped));
        assert!(!matches(Part::Whole, "paris", "Paris", stripped));
        assert!(matches(Part::Whole, "The Paris!", "paris", squad));
        assert!(matches(Part::Prefix, "Paris, France", "Paris", stripped));
        assert!(matches(Part::Suffix, "It is Paris.", "Paris", squad));
        assert!(!matches(Part::Prefix, "", "", stripped));
        assert!(matches(Part::Prefix, "x", "the", squad));
    }
}
