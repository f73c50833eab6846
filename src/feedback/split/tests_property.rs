//! Whatever the items: nothing that leaves has 13 words in a row of a sealed item, checked by comparing all pairs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::words::words;
use super::*;

/// Texts of few different words, so that runs in common are likely; some are pieces of others.
fn items() -> impl Strategy<Value = Vec<Declared>> {
    let phrase = proptest::collection::vec("[a-d]|[A-D]|7", 1..24);
    let side = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Side::Sealed)),
        1 => Just(Some(Side::Feedback)),
        1 => Just(Some(Side::Development)),
    ];
    let pool = proptest::collection::vec(phrase, 3..8);
    let item =
        (proptest::collection::vec(any::<prop::sample::Index>(), 1..4), side, prop_oneof![Just(" "), Just(", ")]);
    (pool, proptest::collection::vec(item, 2..40)).prop_map(|(pool, items)| {
        let declared = |(number, (picks, side, between)): (usize, (Vec<prop::sample::Index>, Option<Side>, &str))| {
            let fields =
                picks.iter().enumerate().map(|(at, pick)| (format!("f{}", at % 2), pick.get(&pool).join(between)));
            Declared { task: format!("t{}", number % 2), id: number.to_string(), fields: OwnFields::new(fields), side }
        };
        items.into_iter().enumerate().map(declared).collect()
    })
}

fn grams(fields: &OwnFields) -> BTreeSet<Vec<String>> {
    fields
        .texts()
        .flat_map(|text| words(text).windows(GRAM_WORDS).map(<[String]>::to_vec).collect::<Vec<_>>())
        .collect()
}

fn content(fields: &OwnFields) -> Vec<String> {
    fields.texts().flat_map(words).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sealed_item_leaves(items in items()) {
        let split = Split::new(&items).unwrap();
        let mut counts: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for item in &items {
            for gram in grams(&item.fields) {
                *counts.entry(gram).or_default() += 1;
            }
        }
        let common = 10.max(items.len() / 100);
        let leaves: BTreeSet<usize> = split.feedback().iter().map(FeedbackItem::index).collect();
        let sealed: BTreeSet<usize> = split.sealed().iter().map(|item| item.index).collect();
        for (index, item) in items.iter().enumerate() {
            prop_assert!(!(leaves.contains(&index) && sealed.contains(&index)));
            match item.side {
                Some(Side::Sealed) => prop_assert!(sealed.contains(&index)),
                Some(Side::Development) => prop_assert!(!leaves.contains(&index) && !sealed.contains(&index)),
                Some(Side::Feedback) | None => {}
            }
        }
        for &index in &leaves {
            for &other in &sealed {
                let (mine, theirs) = (&items[index].fields, &items[other].fields);
                prop_assert_ne!(content(mine), content(theirs));
                let shared = grams(mine).intersection(&grams(theirs)).find(|gram| counts[*gram] <= common).cloned();
                prop_assert_eq!(shared, None);
            }
        }
        // And nothing is held back without a reason.
        for refused in split.refused() {
            let (mine, theirs) = (&items[refused.index].fields, &items[refused.sealed].fields);
            let shares = grams(mine).intersection(&grams(theirs)).next().is_some();
            prop_assert!(sealed.contains(&refused.sealed) && (shares || content(mine) == content(theirs)));
        }
        prop_assert_eq!(leaves.len() + sealed.len() + split.refused().len() + split.development(), items.len());
    }
}
