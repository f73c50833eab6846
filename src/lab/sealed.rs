//! The own texts of sealed items, and whether a text contains one.

use std::collections::BTreeMap;

use super::item::{LabTask, Split};

/// The own texts of sealed items, looked for all at once: windows of the shortest one's length are looked up.
#[derive(Debug, Clone)]
pub struct Sealed {
    window: usize,
    by_beginning: BTreeMap<Vec<u8>, Vec<String>>,
}

impl Sealed {
    /// Of these tasks.
    pub fn of<'a>(tasks: impl IntoIterator<Item = &'a LabTask>) -> Self {
        let items = tasks.into_iter().flat_map(|task| &task.items).filter(|item| item.split == Split::Sealed);
        Self::texts(items.map(|item| item.own_text.clone()))
    }

    /// Empty texts are part of every text and are left out.
    fn texts(texts: impl Iterator<Item = String>) -> Self {
        let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        let window = texts.iter().map(String::len).min().unwrap_or(1);
        let mut by_beginning: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
        for text in texts {
            by_beginning.entry(text.as_bytes()[..window].to_vec()).or_default().push(text);
        }
        Self { window, by_beginning }
    }

    /// The first own text that is part of this text.
    pub fn find_in(&self, text: &str) -> Option<&str> {
        let text = text.as_bytes();
        text.windows(self.window).enumerate().find_map(|(at, window)| {
            let candidates = self.by_beginning.get(window)?;
            candidates.iter().map(String::as_str).find(|own| text[at..].starts_with(own.as_bytes()))
        })
    }

    /// Whether an own text is part of this text.
    pub fn occurs_in(&self, text: &str) -> bool {
        self.find_in(text).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::random::Stream;

    #[test]
    fn every_text_is_found_and_nothing_else() {
        let mut stream = Stream::new(3, &["sealed"]);
        let mut word = |length: usize| (0..length).map(|_| *stream.pick(&['a', 'b', 'c'])).collect::<String>();
        let own: Vec<String> = (0..40).map(|n| word(5 + n % 7)).collect();
        let sealed = Sealed::texts(own.iter().cloned());
        let mut found = 0;
        for _ in 0..500 {
            let text = word(30);
            assert_eq!(sealed.occurs_in(&text), own.iter().any(|own| text.contains(own)), "{text}");
            found += usize::from(sealed.occurs_in(&text));
        }
        assert!((50..450).contains(&found), "{found}");
    }

    #[test]
    fn nothing_is_found_where_nothing_is_sealed_or_said() {
        let of = |own: &[&str]| Sealed::texts(own.iter().map(|&own| own.to_owned()));
        assert_eq!(of(&["", ""]).find_in("abc"), None);
        assert_eq!(of(&["abc"]).find_in("ab"), None);
        assert_eq!(of(&["abc"]).find_in("xabc"), Some("abc"));
    }
}
