//! The file says what it said, old files are read, and numbers that cannot be are named.

use super::*;

fn places(of: &[(&str, u64)]) -> Places {
    of.iter().map(|(name, place)| ((*name).to_owned(), *place)).collect()
}

fn full() -> Progress {
    let began = Beginning { step: 3, tokens: 300, places: places(&[("math", 100), ("stories", 200)]) };
    let places = places(&[("gone", 7), ("math", 400), ("stories", 200)]);
    Progress { step: 6, tokens: 600, learning_rate: 0.5, order: Some(OrderProgress { seed: 7, began, places }) }
}

#[test]
fn what_is_written_is_read_and_old_files_know_no_order() {
    let text = serde_json::to_string(&full()).unwrap();
    assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), full());

    let mut first = full();
    first.order.as_mut().unwrap().began = Beginning::default();
    let text = serde_json::to_string(&first).unwrap();
    assert_eq!(
        text,
        "{\"global_step\":6,\"num_input_tokens_seen\":600,\"learning_rate\":0.5,\
         \"order\":{\"seed\":7,\"places\":{\"gone\":7,\"math\":400,\"stories\":200}}}"
    );
    assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), first);

    let old = "{\"global_step\":6,\"num_input_tokens_seen\":600,\"learning_rate\":0.5}";
    let unknown = Progress { order: None, ..first };
    assert_eq!(serde_json::from_str::<Progress>(old).unwrap(), unknown);
    assert_eq!(serde_json::to_string(&unknown).unwrap(), old);
}

#[test]
fn numbers_that_cannot_be_are_all_named() {
    full().check().unwrap();
    Progress::default().check().unwrap();
    let mut bad = full();
    bad.tokens = u64::MAX;
    let order = bad.order.as_mut().unwrap();
    order.began.step = 7;
    order.places.insert("stories".into(), u64::MAX);
    order.began.places.insert("math".into(), 401);
    order.began.places.insert("never".into(), 1);
    let found = bad.check().unwrap_err().to_string();
    for wanted in [
        "num_input_tokens_seen: expected at most 9007199254740992, found 18446744073709551615",
        "order.began.step: expected at most 6, found 7",
        "order.places.stories: expected at most",
        "order.began.places.math: expected at most 400, found 401",
        "order.began.places.never: expected at most 0, found 1",
    ] {
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
    assert_eq!(found.lines().count(), 5);
}
