//! Planted overlaps, columns, and what must not leave.

use super::*;

/// A text of `count` words that no other `seed` has.
pub(super) fn text(seed: usize, count: usize) -> String {
    (0..count).map(|at| format!("w{seed}x{at}")).collect::<Vec<_>>().join(" ")
}

fn item(id: &str, text: &str, side: Option<Side>) -> Declared {
    Declared { task: "t".to_owned(), id: id.to_owned(), fields: OwnFields::new([("question", text)]), side }
}

fn ids(items: &[FeedbackItem]) -> Vec<&str> {
    let mut ids: Vec<&str> = items.iter().map(FeedbackItem::id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn hashes_halve_and_nothing_else_decides() {
    let items: Vec<Declared> = (0..2000).map(|n| item(&n.to_string(), &text(n, 5), None)).collect();
    let split = Split::new(&items).unwrap();
    // Five standard deviations.
    assert!(split.sealed().len().abs_diff(1000) < 112, "{}", split.sealed().len());
    assert_eq!(split.feedback().len() + split.sealed().len(), 2000);
    // Other ids, another order, other punctuation, fewer items: the same sides.
    let other: Vec<Declared> =
        (0..500).rev().map(|n| item(&format!("i{n}"), &text(n, 5).to_uppercase().replace(' ', ", "), None)).collect();
    let fewer = Split::new(&other).unwrap();
    let side = |split: &Split, id: &str| split.feedback().iter().any(|item| item.id() == id);
    for n in 0..500 {
        assert_eq!(side(&split, &n.to_string()), side(&fewer, &format!("i{n}")), "item {n}");
    }
}

#[test]
fn thirteen_words_in_common_are_refused_and_twelve_are_not() {
    let sealed = text(1, 40);
    let part = |from: usize, count: usize| sealed.split(' ').skip(from).take(count).collect::<Vec<_>>().join(" ");
    let items = [
        item("sealed", &sealed, Some(Side::Sealed)),
        item(
            "thirteen",
            &format!("{} {} {}", text(2, 9), part(20, 13).to_uppercase(), text(3, 9)),
            Some(Side::Feedback),
        ),
        item("twelve", &format!("{} {} {}", text(4, 9), part(20, 12), text(5, 9)), Some(Side::Feedback)),
        item("other", &text(6, 30), Some(Side::Feedback)),
        item("tuned", &text(7, 30), Some(Side::Development)),
    ];
    let split = Split::new(&items).unwrap();
    assert_eq!(ids(split.feedback()), ["other", "twelve"]);
    assert_eq!((split.development(), split.sealed().len()), (1, 1));
    let [refused] = split.refused() else { panic!("{:?}", split.refused()) };
    assert_eq!((refused.id.as_str(), refused.overlap, refused.sealed), ("thirteen", Overlap::Gram, 0));
    // Thirteen words across two fields are none of one field.
    let across = OwnFields::new([("a", part(20, 6)), ("b", part(26, 7))]);
    assert_eq!(split.sealed_grams().overlap(&across), None);
    assert_eq!(split.sealed_grams().overlap(&OwnFields::new([("a", part(3, 13))])), Some((Overlap::Gram, 0)));
}

#[test]
fn short_copies_are_refused_by_their_content() {
    let items = [
        item("sealed", "What is 2 + 2?", Some(Side::Sealed)),
        item("copy", "what is 2+2", Some(Side::Feedback)),
        item("near", "what is 2 + 3", Some(Side::Feedback)),
    ];
    let split = Split::new(&items).unwrap();
    assert_eq!(ids(split.feedback()), ["near"]);
    assert_eq!(split.refused()[0].overlap, Overlap::Content);
}

/// Wording that every item has is no overlap; the same wording in a few items is.
#[test]
fn what_more_than_one_per_cent_have_is_wording() {
    let wording = text(0, 14);
    let items = |sharing: usize| -> Vec<Declared> {
        (0..2000)
            .map(|n| {
                let own = text(n + 1, 8);
                let text = if n < sharing { format!("{wording} {own}") } else { own };
                item(&n.to_string(), &text, Some(if n % 2 == 0 { Side::Feedback } else { Side::Sealed }))
            })
            .collect()
    };
    assert_eq!(Split::new(&items(20)).unwrap().refused().len(), 10);
    assert_eq!(Split::new(&items(21)).unwrap().refused().len(), 0);
}

#[test]
fn the_first_n_are_part_of_the_first_of_more() {
    let items: Vec<Declared> = (0..300).map(|n| item(&n.to_string(), &text(n, 5), None)).collect();
    let split = Split::new(&items).unwrap();
    let mut reversed = items.clone();
    reversed.reverse();
    let other = Split::new(&reversed).unwrap();
    let order = |split: &Split| split.feedback().iter().map(|item| item.id().to_owned()).collect::<Vec<_>>();
    assert_eq!(order(&split), order(&other));
}

#[test]
fn bad_input_is_told_at_once() {
    let items = [
        item("a", &text(1, 5), Some(Side::Sealed)),
        item("a", &text(2, 5), Some(Side::Feedback)),
        item("b", " ?! ", None),
    ];
    let message = Split::new(&items).unwrap_err().to_string();
    assert!(
        message.contains("task t, item a: expected each item once, found it twice, as sealed and feedback"),
        "{message}"
    );
    assert!(message.contains("task t, item b: expected at least one word"), "{message}");
    assert!(Side::parse("train").unwrap_err().to_string().contains("found `train`"));
    assert_eq!(Side::parse("sealed").unwrap(), Side::Sealed);
}

#[test]
fn a_stored_set_with_sealed_items_is_refused() {
    let items = [
        item("good", &text(1, 20), Some(Side::Feedback)),
        item("sealed", &text(2, 20), Some(Side::Sealed)),
        item("copy", &text(2, 20), Some(Side::Feedback)),
    ];
    let split = Split::new(&items).unwrap();
    let check = |ids: &[&str]| split.check_feedback("t", &ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>());
    check(&["good"]).unwrap();
    let message = check(&["sealed", "good", "copy", "new"]).unwrap_err().to_string();
    assert!(message.contains("item sealed: expected an item on the side of feedback, found a sealed one"), "{message}");
    assert!(message.contains("item copy") && message.contains("overlaps") && message.contains("item new"), "{message}");
}
