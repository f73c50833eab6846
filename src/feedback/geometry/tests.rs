//! Rules by hand, and refusals.

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The gram of parts that are all the same vector, of each group.
fn of_vectors(vectors: &[&[f64]], parts: usize) -> Vec<f64> {
    let rows = || vectors.iter().flat_map(|vector| std::iter::repeat_n(*vector, parts));
    rows().flat_map(|a| rows().map(move |b| a.iter().zip(b).map(|(a, b)| a * b).sum())).collect()
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn without_noise_cosines_are_cosines() {
    let vectors: [&[f64]; 3] = [&[3.0, 0.0], &[1.0, 1.0], &[-2.0, 0.0]];
    let gram = PartGram::new(names(&["a", "b", "c"]), 4, of_vectors(&vectors, 4)).unwrap();
    let similarity = Similarity::of(&gram);
    let root = 0.5f64.sqrt();
    for (a, b, wanted) in [(0, 0, 1.0), (0, 1, root), (1, 0, root), (0, 2, -1.0), (1, 2, -root)] {
        near(similarity.raw_cosine(a, b), wanted);
        near(similarity.cosine(a, b).unwrap().value, wanted);
    }
    near(similarity.product(0, 0).value, 9.0);
    assert!(similarity.above_noise(0));
    let relations = [(0, 1), (0, 2)].map(|(a, b)| similarity.relation(a, b));
    assert_eq!(relations, [Relation::Agree, Relation::Conflict]);
}

/// Two quadratic losses: of one minimum the gradients agree anywhere, and halfway between two minima they oppose.
#[test]
fn quadratics_agree_and_oppose() {
    let gradient =
        |at: [f64; 2], minimum: [f64; 2], scale: f64| [scale * (at[0] - minimum[0]), scale * (at[1] - minimum[1])];
    let cosine = |one: [f64; 2], other: [f64; 2]| {
        let gram = PartGram::new(names(&["a", "b"]), 4, of_vectors(&[&one, &other], 4)).unwrap();
        Similarity::of(&gram).cosine(0, 1).unwrap().value
    };
    let (left, right) = ([-1.0, 2.0], [3.0, 0.0]);
    near(cosine(gradient([5.0, 5.0], left, 1.0), gradient([5.0, 5.0], left, 3.0)), 1.0);
    near(cosine(gradient([1.0, 1.0], left, 1.0), gradient([1.0, 1.0], right, 2.0)), -1.0);
}

#[test]
fn items_go_to_parts_in_turn_and_layers_add_up() {
    let layers = || vec![("0".to_owned(), 0..1), ("1".to_owned(), 1..3)];
    let mut sums = PartSums::new(names(&["a", "b"]), 4, layers()).unwrap();
    let rows = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0], [5.0, 0.0, 2.0]];
    for (number, row) in rows.iter().enumerate() {
        sums.add(0, row).unwrap();
        if number < 4 {
            sums.add(1, row).unwrap();
        }
    }
    let grams = sums.finish().unwrap();
    // The first part of a is the mean of the first and the fifth row: (3, 0, 1).
    near(grams.whole().product(0, 0, 0, 0), 10.0);
    near(grams.layers()[0].gram.product(0, 0, 1, 0), 3.0);
    near(grams.whole().product(0, 0, 1, 2), 3.0);
    for (part, other) in [(0, 0), (1, 2), (2, 3)] {
        let of = |gram: &PartGram| gram.product(0, part, 1, other);
        near(of(grams.whole()), grams.layers().iter().map(|layer| of(&layer.gram)).sum());
    }
}

#[test]
fn unbiased_products_leave_out_what_a_part_has_with_itself() {
    // Parts of one number each: 1, 2, 4, 8.
    let rows = [1.0, 2.0, 4.0, 8.0];
    let products = rows.iter().flat_map(|a| rows.map(|b| a * b)).collect();
    let gram = PartGram::new(names(&["a"]), 4, products).unwrap();
    let found = gram.unbiased(0, 0);
    near(found.all, 70.0 / 6.0);
    for (one, wanted) in found.without.iter().zip([56.0, 44.0, 26.0, 14.0]) {
        near(*one, wanted / 3.0);
    }
    near(gram.raw(0, 0), 225.0 / 16.0);
}

#[test]
fn conflict_is_told_by_layer() {
    // Layer x: opposed. Layer y: alike, and twice as strong.
    let layers = vec![
        ("x".to_owned(), of_vectors(&[&[1.0], &[-1.0], &[2.0]], 4)),
        ("y".to_owned(), of_vectors(&[&[2.0], &[1.0], &[1.0]], 4)),
        ("empty".to_owned(), vec![0.0; 144]),
    ];
    let grams = LayerGrams::new(&names(&["a", "b", "c"]), 4, layers).unwrap();
    let found = conflicts(&grams, &[(0, 1), (0, 2)]);
    let short: Vec<(&str, f64, f64, f64)> =
        found.iter().map(|layer| (layer.layer.as_str(), layer.negative, layer.sure, layer.mass)).collect();
    assert_eq!(short, [("x", 0.5, 0.5, 1.0), ("y", 0.0, 0.0, 0.0), ("empty", 0.0, 0.0, 0.0), ("", 0.0, 0.0, 1.0)]);
    assert_eq!(conflicts(&grams, &[])[0].negative, 0.0);
}

#[test]
fn projections_by_hand() {
    let found = project(&[vec![1.0, 0.0], vec![-1.0, 1.0]], 0).unwrap();
    assert_eq!(found.gradients, [[0.5, 0.5], [0.0, 1.0]]);
    assert_eq!(found.sum, [0.5, 1.5]);
    assert_eq!(found.conflicts, [(0, 1)]);
    assert_eq!(found.removed, [0.5, 0.5]);
    assert_eq!((found.value_before, found.value_after), (vec![0.0, 1.0], vec![0.5, 1.0]));
    // Without conflict: the plain sum. Opposed: nothing is left. Zero: nothing happens.
    let free = project(&[vec![1.0, 0.0], vec![0.5, 1.0]], 0).unwrap();
    assert_eq!((free.sum, free.conflicts.len(), free.removed), (vec![1.5, 1.0], 0, vec![0.0, 0.0]));
    let opposed = project(&[vec![1.0, 2.0], vec![-1.0, -2.0]], 0).unwrap();
    assert_eq!((opposed.sum, opposed.removed), (vec![0.0, 0.0], vec![1.0, 1.0]));
    let zero = project(&[vec![0.0, 0.0], vec![1.0, 1.0]], 0).unwrap();
    assert_eq!((zero.sum, zero.removed), (vec![1.0, 1.0], vec![0.0, 0.0]));
    let message = project(&[vec![0.0, 0.0], vec![1.0]], 0).unwrap_err().to_string();
    assert!(message.contains("gradient 1: expected 2 finite numbers, found 1 numbers"), "{message}");
    assert!(project(&[vec![f64::NAN]], 0).unwrap_err().to_string().contains("found NaN"));
    assert!(project(&[], 0).is_err());
}

#[test]
fn samples_that_are_misaligned_are_told_apart() {
    let mut paired = PairedAgreement::default();
    for number in 0..100 {
        let other = if number % 10 < 3 { [-0.8, 0.6] } else { [0.9, 0.1] };
        let cosine = paired.add("text", &[2.0, 0.0], &other).unwrap().unwrap();
        assert_eq!(cosine < 0.0, number % 10 < 3);
    }
    assert_eq!(paired.add("text", &[0.0, 0.0], &[1.0, 0.0]).unwrap(), None);
    paired.add("same", &[1.0, 2.0], &[1.0, 2.0]).unwrap();
    let found = paired.finish();
    let text = &found["text"];
    assert_eq!((text.conflict.value, text.zero, text.cosine.n), (0.3, 1, 100));
    near(text.percentiles[0], -0.8);
    near(text.cosine.value, 0.7 * 0.9 / 0.82f64.sqrt() - 0.24);
    near(found["same"].cosine.value, 1.0);
    near(paired.kept("text", 0.5).unwrap(), 70.0 / 101.0);
    assert_eq!((paired.kept("text", -1.0), paired.kept("other", 0.0)), (Some(100.0 / 101.0), None));
    let message = paired.add("text", &[1.0], &[1.0, 2.0]).unwrap_err().to_string();
    assert!(
        message.contains("group text, sample 101: expected two gradients of one length, found 1 and 2"),
        "{message}"
    );
    assert!(paired.add_products("x", [1.0, f64::NAN, 1.0]).is_err());
}

#[test]
fn bad_grams_are_refused() {
    let text =
        |groups: &[&str], parts, products| PartGram::new(names(groups), parts, products).unwrap_err().to_string();
    assert!(text(&["a"], 3, vec![1.0; 4]).contains("expected at least one group and 4 parts, found 1 groups of 3"));
    assert!(text(&["a"], 4, vec![1.0; 4]).contains("expected 4 x 4 inner products, found 4"));
    assert_eq!(
        text(&["a", "z"], 4, of_vectors(&[&[1.0], &[0.0]], 4)),
        "group z: expected a gradient that is not zero, found one of norm 0"
    );
    let mut products = vec![1.0; 64];
    products[8 * 5 + 1] = f64::NAN;
    assert_eq!(text(&["a", "b"], 4, products.clone()), "group b, part 1: expected finite inner products, found NaN");
    products[8 * 5 + 1] = 2.0;
    let message = text(&["a", "b"], 4, products.clone());
    assert_eq!(message, "part 1 of b and part 1 of a: expected the same inner product in either order, found 2 and 1");
    // As much as rounding makes is evened out.
    products[8 * 5 + 1] = 1.000_02;
    let gram = PartGram::new(names(&["a", "b"]), 4, products).unwrap();
    assert_eq!((gram.product(1, 1, 0, 1), gram.product(0, 1, 1, 1)), (1.000_01, 1.000_01));
    let message = LayerGrams::new(&names(&["a"]), 4, vec![("x".to_owned(), vec![1.0])]).unwrap_err().to_string();
    assert!(message.starts_with("layer x: expected 4 x 4"), "{message}");
    assert!(PartSums::new(names(&["a"]), 3, Vec::new()).is_err());
    assert!(
        PartSums::new(names(&["a"]), 4, vec![("x".to_owned(), 1..3)]).unwrap_err().to_string().contains("column 0")
    );
    let mut sums = PartSums::new(names(&["a"]), 4, vec![("x".to_owned(), 0..2)]).unwrap();
    sums.add(0, &[1.0, 1.0]).unwrap();
    assert!(
        sums.add(0, &[1.0])
            .unwrap_err()
            .to_string()
            .contains("group a, item 1: expected 2 finite numbers, found 1 numbers")
    );
    assert!(sums.add(0, &[1.0, f64::NAN]).unwrap_err().to_string().contains("found NaN in column 1"));
    assert!(
        sums.finish()
            .unwrap_err()
            .to_string()
            .contains("group a: expected at least one item for each of 4 parts, found 1")
    );
}
