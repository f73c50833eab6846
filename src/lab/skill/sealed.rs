//! The own texts of sealed items, and whether a text contains one.

use std::collections::BTreeMap;

use crate::lab::item::{LabTask, Split};

/// Length of the beginnings that own texts are filed under.
const BEGINNING: usize = 8;

/// The own texts of sealed items.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// By their first bytes.
    by_beginning: BTreeMap<[u8; BEGINNING], Vec<String>>,
}

impl Sealed {
    /// Of these tasks. An own text has at least eight bytes: shorter ones would be in every other document.
    pub fn of<'a>(tasks: impl IntoIterator<Item = &'a LabTask>) -> Self {
        let mut by_beginning: BTreeMap<_, Vec<String>> = BTreeMap::new();
        let items = tasks.into_iter().flat_map(|task| &task.items).filter(|item| item.split == Split::Sealed);
        for item in items {
            let beginning = item.own_text.as_bytes().first_chunk::<BEGINNING>();
            let beginning = beginning.expect("own texts have eight bytes or more");
            by_beginning.entry(*beginning).or_default().push(item.own_text.clone());
        }
        Self { by_beginning }
    }

    /// Whether an own text is part of this text.
    pub fn occurs_in(&self, text: &str) -> bool {
        text.as_bytes().windows(BEGINNING).enumerate().any(|(at, window)| {
            // A window of a text has that length.
            let Some(beginning) = window.first_chunk::<BEGINNING>() else { return false };
            let found = self.by_beginning.get(beginning);
            found.is_some_and(|own| own.iter().any(|own| text.as_bytes()[at..].starts_with(own.as_bytes())))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::lab::item::Item;

    #[test]
    fn a_sealed_text_is_found_anywhere_and_others_are_not() {
        let items: Vec<Item> = (0..50).map(|n| Item::new("t", format!("number {n} of fifty"), Map::new())).collect();
        let task = LabTask {
            name: "t".into(),
            toml: String::new(),
            items: items.clone(),
            chance: 0.0,
            taught_by: Vec::new(),
            made_of: Vec::new(),
        };
        let sealed = Sealed::of([&task]);
        assert!(items.iter().any(|item| item.split == Split::Sealed));
        for item in &items {
            let text = format!("before {} after", item.own_text);
            assert_eq!(sealed.occurs_in(&text), item.split == Split::Sealed, "{text}");
            assert!(!sealed.occurs_in(&item.own_text[..item.own_text.len() - 1]));
        }
    }
}
