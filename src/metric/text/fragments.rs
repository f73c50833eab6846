//! What a summary copied from its text (Grusky and others 2018): the greedy matching of Newsroom's `Fragments`. How
//! tokens are made is the caller's: Newsroom uses spaCy.

/// Three shares of a summary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extractiveness {
    /// Share of the summary's tokens that lie in a copied fragment.
    pub coverage: f64,
    /// Squared lengths of the fragments over the summary's length: how long fragments are where they are.
    pub density: f64,
    /// Tokens of the text for each token of the summary.
    pub compression: f64,
}

/// Fragments are found from left to right: at each token the longest match in the text. Tokens are compared in lower
/// case. All three are 0 for an empty summary.
pub fn extractiveness<S: AsRef<str>>(summary: &[S], text: &[S]) -> Extractiveness {
    let lower = |tokens: &[S]| tokens.iter().map(|token| token.as_ref().to_lowercase()).collect::<Vec<_>>();
    let (summary, text) = (lower(summary), lower(text));
    if summary.is_empty() {
        return Extractiveness { coverage: 0.0, density: 0.0, compression: 0.0 };
    }
    let (mut covered, mut squares, mut start) = (0, 0, 0);
    while start < summary.len() {
        let longest = longest_match(&summary[start..], &text);
        covered += longest;
        squares += longest * longest;
        start += longest.max(1);
    }
    let per_token = |count: usize| count as f64 / summary.len() as f64;
    Extractiveness { coverage: per_token(covered), density: per_token(squares), compression: per_token(text.len()) }
}

/// Length of the longest beginning of `summary` that the text has. The search goes on behind each match, as
/// Newsroom's does, so matches that overlap one another are not seen.
fn longest_match(summary: &[String], text: &[String]) -> usize {
    let (mut longest, mut at) = (0, 0);
    while at < text.len() {
        let length = super::edit::common_prefix(summary, &text[at..]);
        longest = longest.max(length);
        at += length.max(1);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_by_hand() {
        let tokens = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let found = extractiveness(&tokens("A fox jumps"), &tokens("the quick fox jumps over it"));
        assert_eq!(found, Extractiveness { coverage: 2.0 / 3.0, density: 4.0 / 3.0, compression: 2.0 });
        // "a a b" is there, but begins inside the first match "a a", which is why it is not found.
        assert_eq!(longest_match(&tokens("a a b"), &tokens("a a a b")), 2);
        assert_eq!(extractiveness(&[], &tokens("a")).compression, 0.0);
    }
}
