//! Grams of groups at a checkpoint against whole gradients, item by item.

use std::collections::BTreeSet;

use veval::feedback::geometry::{AtCheckpoint, Group, PairedAgreement, grams_at, without_context};
use veval::feedback::gradset::dot;
use veval::feedback::{Direction, Target};
use veval::kernels::cpu::Cpu;
use veval::kernels::tape::Tape;
use veval::model::{Decoder, Place};

use crate::feedback::{MEMORY, cpu, near, targets, whole};
use crate::support::{cases, expected, open};

const PARTS: usize = 4;

/// Two groups, of five and of four items; those of the first have a context.
fn groups(tokens: &[u32]) -> [Group; 2] {
    let items = targets(tokens);
    let target = |from: usize, to: usize| Target {
        id: format!("{from}-{to} whole"),
        tokens: tokens[from..to].to_vec(),
        start: 1,
    };
    let marginals = items.iter().map(|item| without_context(item, tokens[0])).collect();
    [
        Group { name: "items".to_owned(), items, marginals },
        Group {
            name: "documents".to_owned(),
            items: vec![target(0, 17), target(2, 8), target(6, 17), target(9, 14)],
            marginals: Vec::new(),
        },
    ]
}

fn found(decoder: &Decoder<Tape<Cpu>>, groups: &[Group], memory: usize) -> veval::error::Result<AtCheckpoint> {
    let names: BTreeSet<String> = decoder.leaves().parameters().keys().map(|name| (*name).to_owned()).collect();
    grams_at(decoder, &names, groups, PARTS, memory, &mut |_| Ok(()))
}

#[test]
fn grams_are_inner_products_of_whole_gradients_for_every_family() {
    for (name, path) in cases() {
        let model = open(&path, Tape::new(cpu()));
        let groups = groups(&expected(&path).tokens);
        let own = found(&model.decoder, &groups, MEMORY).unwrap();
        assert_eq!(own.sweeps, 1);
        let gradients: Vec<Vec<Direction>> =
            groups.iter().map(|group| group.items.iter().map(|item| whole(&model.decoder, item).1).collect()).collect();
        // Items go to parts in turn.
        let mean_product = |a: (usize, usize), b: (usize, usize)| -> f64 {
            let of = |(group, part): (usize, usize)| gradients[group].iter().skip(part).step_by(PARTS);
            let count = of(a).count() as f64 * of(b).count() as f64;
            of(a).map(|one| of(b).map(|other| dot(one, other)).sum::<f64>()).sum::<f64>() / count
        };
        let all = || (0..2).flat_map(|group| (0..PARTS).map(move |part| (group, part)));
        for (a, b) in all().flat_map(|a| all().map(move |b| (a, b))) {
            let product = own.grams.whole().product(a.0, a.1, b.0, b.1);
            let scale = (mean_product(a, a) * mean_product(b, b)).sqrt();
            near(product, mean_product(a, b), scale, &name);
            let layers: f64 = own.grams.layers().iter().map(|layer| layer.gram.product(a.0, a.1, b.0, b.1)).sum();
            near(layers, product, scale, &name);
        }
        let layers: Vec<&str> = own.grams.layers().iter().map(|layer| layer.name.as_str()).collect();
        // A tied head belongs to the embedding, and a norm without gain has no parameters.
        let leaves = model.decoder.leaves();
        let has_end =
            leaves.parameters().values().any(|(_, numbers)| numbers.iter().all(|own| leaves.place(*own) == Place::End));
        let blocks = (0..leaves.blocks()).map(|block| format!("block {block}"));
        let end = has_end.then(|| "norm and head".to_owned());
        let wanted: Vec<String> = std::iter::once("embedding".to_owned()).chain(blocks).chain(end).collect();
        assert_eq!(layers, wanted, "{name}");
        // Each item's gradient against that of its answer alone.
        let mut wanted = PairedAgreement::default();
        for (gradient, marginal) in gradients[0].iter().zip(&groups[0].marginals) {
            let marginal = whole(&model.decoder, marginal).1;
            let products = [dot(gradient, gradient), dot(gradient, &marginal), dot(&marginal, &marginal)];
            wanted.add_products("items", products).unwrap();
        }
        let (agreement, wanted) = (own.agreement.finish(), wanted.finish());
        assert_eq!(agreement.keys().collect::<Vec<_>>(), ["items"]);
        near(agreement["items"].cosine.value, wanted["items"].cosine.value, 1.0, &name);
        near(agreement["items"].percentiles[0], wanted["items"].percentiles[0], 1.0, &name);
    }
}

#[test]
fn no_number_depends_on_how_many_layers_fit() {
    let (name, path) = &cases()[0];
    let model = open(path, Tape::new(cpu()));
    let groups = groups(&expected(path).tokens);
    let whole = found(&model.decoder, &groups, MEMORY).unwrap();
    let (mut memory, mut most) = (MEMORY, 1);
    let refusal = loop {
        match found(&model.decoder, &groups, memory) {
            Ok(own) => {
                assert_eq!(own.grams, whole.grams, "{name}, {memory} bytes");
                assert_eq!(own.agreement.finish(), whole.agreement.finish(), "{name}, {memory} bytes");
                assert!(own.sweeps >= most);
                most = own.sweeps;
            }
            Err(error) => break error.to_string(),
        }
        memory = memory * 3 / 4;
    };
    assert!(most > 1, "{most}");
    for wanted in ["of memory for the mean gradients of all parts, found", "--params"] {
        assert!(refusal.contains(wanted), "{refusal}");
    }
}

/// With nothing before the answer the two likelihoods are one.
#[test]
fn an_answer_without_context_is_itself_and_too_few_items_are_refused() {
    let (_, path) = &cases()[0];
    let model = open(path, Tape::new(cpu()));
    let tokens = expected(path).tokens;
    let [mut one, mut other] = groups(&tokens);
    one.items = one.marginals.clone();
    let agreement = found(&model.decoder, &[one.clone(), other.clone()], MEMORY).unwrap().agreement.finish();
    assert!(agreement["items"].percentiles[0] > 1.0 - 1e-12, "{agreement:?}");
    one.items.truncate(3);
    other.items.truncate(2);
    let refusal = found(&model.decoder, &[one, other], MEMORY).unwrap_err().to_string();
    for wanted in ["group items: expected at least one item for each of 4 parts, found 3", "group documents", "found 2"]
    {
        assert!(refusal.contains(wanted), "{refusal}");
    }
}
