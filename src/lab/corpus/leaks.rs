//! Whether sealed items' own texts occur in documents.

use std::collections::BTreeMap;

/// Texts to be looked for in many others, all at once: windows of the shortest text's length are looked up.
pub struct Needles<'a> {
    window: usize,
    by_beginning: BTreeMap<&'a [u8], Vec<&'a str>>,
}

impl<'a> Needles<'a> {
    /// Empty texts are in every document and are left out.
    pub fn new(texts: impl Iterator<Item = &'a str>) -> Self {
        let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        let window = texts.iter().map(|text| text.len()).min().unwrap_or(1);
        let mut by_beginning: BTreeMap<&[u8], Vec<&str>> = BTreeMap::new();
        for text in texts {
            by_beginning.entry(&text.as_bytes()[..window]).or_default().push(text);
        }
        Self { window, by_beginning }
    }

    /// The first of the texts that occurs in this one.
    pub fn find_in(&self, hay: &str) -> Option<&'a str> {
        let hay = hay.as_bytes();
        (0..(hay.len() + 1).saturating_sub(self.window)).find_map(|start| {
            let candidates = self.by_beginning.get(&hay[start..start + self.window])?;
            candidates.iter().copied().find(|text| hay[start..].starts_with(text.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::random::Stream;

    #[test]
    fn every_needle_is_found_and_nothing_else() {
        let mut stream = Stream::new(3, &["needles"]);
        let mut word = |length: usize| (0..length).map(|_| *stream.pick(&['a', 'b', 'c'])).collect::<String>();
        let needles: Vec<String> = (0..40).map(|n| word(5 + n % 7)).collect();
        let index = Needles::new(needles.iter().map(String::as_str));
        let mut found = 0;
        for _ in 0..500 {
            let hay = word(30);
            assert_eq!(index.find_in(&hay).is_some(), needles.iter().any(|needle| hay.contains(needle)), "{hay}");
            found += usize::from(index.find_in(&hay).is_some());
        }
        assert!((50..450).contains(&found), "{found}");
    }

    #[test]
    fn nothing_is_found_without_needles_or_hay() {
        assert_eq!(Needles::new(["", ""].into_iter()).find_in("abc"), None);
        assert_eq!(Needles::new(["abc"].into_iter()).find_in("ab"), None);
        assert_eq!(Needles::new(["abc"].into_iter()).find_in("xabc"), Some("abc"));
    }
}
