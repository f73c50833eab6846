//! Packs hold the whole stock, and no fact twice.

use std::collections::BTreeSet;

use super::packing::{Stock, pack};
use super::random::Stream;

#[test]
fn packs_use_up_the_stock_exactly() {
    let stock: Stock = (0..40).map(|fact| (fact, 1 + fact * fact % 37)).collect();
    let packs = pack(&stock, (2, 5), &mut Stream::new(1, &["packs"]));
    let mut counts = Stock::new();
    for pack in &packs {
        assert!((1..=5).contains(&pack.len()));
        assert_eq!(pack.iter().collect::<BTreeSet<_>>().len(), pack.len());
        for fact in pack {
            *counts.entry(*fact).or_default() += 1;
        }
    }
    assert_eq!(counts, stock);
    // Facts with much stock went first, so that hardly any pack is too small.
    assert!(packs.iter().filter(|pack| pack.len() < 2).count() <= 2);
}

#[test]
fn an_empty_stock_has_no_packs() {
    assert!(pack(&Stock::new(), (2, 5), &mut Stream::new(1, &[])).is_empty());
    assert!(pack(&Stock::from([(3, 0)]), (2, 5), &mut Stream::new(1, &[])).is_empty());
}
