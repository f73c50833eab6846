//! Rows of more than linear maps inside blocks: with tables, heads and vectors; of everything at once; of single tokens.

use std::collections::BTreeMap;

use veval::feedback::moments::Optimizer;
use veval::feedback::{
    Beside, ProjectedModule, Projection, ProjectionTarget, Projector, RowOf, Rule, Scale, Side, SignColumns, Signs,
    module_of, precondition, rademacher,
};
use veval::kernels::View;
use veval::kernels::cpu::{Cpu, Isa};
use veval::kernels::tape::{Nothing, Tape};
use veval::model::{Decoder, Loss, Objective, Reach, Summed, Taps, WeightGradients};
use veval::request::site::BlockSite;
use veval::request::{Site, SiteValues};

use crate::projections::{MEMORY, items, moments, projected};
use crate::support::{cases, expected, open};

const ADAM: Optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.99, eps: 1e-6 };

/// All parameters; one family has norms without gains, and no vectors.
fn everything(decoder: &Decoder<Tape<Cpu>>) -> Beside {
    Beside { embeddings: true, vectors: decoder.leaves().sources().iter().any(|source| !source.is_linear_map()) }
}

fn model(path: &std::path::Path) -> Decoder<Tape<Cpu>> {
    open(path, Tape::new(Cpu::new(Isa::best(), 2))).decoder
}

/// Whole gradients of an item's loss by module, and whether they are stored `[in, out]`.
fn whole(
    decoder: &Decoder<Tape<Cpu>>,
    item: &Objective<'_>,
    optimizer: Option<Optimizer>,
) -> BTreeMap<String, (SiteValues, bool)> {
    let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
    let reach = Reach { memory: MEMORY, ..Reach::default() };
    decoder.reverse(std::slice::from_ref(item), reach, &mut weights).unwrap();
    let sources = decoder.leaves().sources();
    let of = |(name, mut values): (String, SiteValues)| {
        let source = sources.iter().find(|source| source.name == name).unwrap();
        if let Some(optimizer) = optimizer {
            precondition(&mut values.values, &moments(&values.shape, optimizer), Rule::Optimizer).unwrap();
        }
        let inverted = source.is_linear_map() && matches!(source.view, View::Columns { .. });
        (module_of(&name).to_owned(), (values, inverted))
    };
    weights.into_parameters().unwrap().into_iter().map(of).collect()
}

fn close(wanted: &[f32], found: &[f32], what: &str) {
    assert_eq!(wanted.len(), found.len(), "{what}");
    let scale = wanted.iter().fold(1e-3f32, |max, value| max.max(value.abs()));
    let off = wanted.iter().zip(found).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
    assert!(off < 1e-4, "{what} is off by {off}");
}

/// `P v`, of a vector.
fn one_sided(module: &ProjectedModule, gradient: &SiteValues, projection: Projection) -> Vec<f32> {
    let Projection { dim, scale, signs, .. } = projection;
    let matrix = rademacher(signs, &module.name, Side::Single, dim, module.out, scale);
    let product =
        |row: &[f32]| row.iter().zip(&gradient.values).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    matrix.chunks(module.out).map(|row| product(row) as f32).collect()
}

#[test]
fn tables_heads_and_vectors_are_whole_gradients_projected_for_every_family() {
    for (number, (name, path)) in cases().into_iter().enumerate() {
        let signs = [Signs::Pcg64, Signs::Philox][number % 2];
        let optimizer = [None, Some(ADAM), Some(Optimizer::Adafactor)][number % 3];
        let projection = Projection::per_module(4, Scale::Jl, signs);
        let tokens = expected(&path).tokens;
        let items = items(&tokens);
        let decoder = model(&path);
        let stored = decoder.leaves().parameters();
        let read = |parameter: &str| Ok(optimizer.map(|optimizer| moments(stored[parameter].0, optimizer)));
        let projector = Projector::of(&decoder, |_| true, everything(&decoder), projection, &read).unwrap();
        let ours = projector.project(&items, MEMORY).unwrap();
        for (index, item) in items.iter().enumerate() {
            let whole = whole(&decoder, item, optimizer);
            assert_eq!(whole.len(), projector.modules().len(), "{name}");
            let mut values = ours.item(index);
            for module in projector.modules() {
                let (own, rest) = values.split_at(module.shape[0] * module.shape[1]);
                values = rest;
                let (gradient, inverted) = &whole[&module.name];
                let wanted = match module.shape {
                    [1, _] => one_sided(module, gradient, projection),
                    _ => projected(&module.name, gradient, *inverted, projection),
                };
                close(&wanted, own, &format!("{name}, {optimizer:?}: {} of item {index}", module.name));
            }
            assert!(values.is_empty());
        }
        let alone = projector.project(&items[1..2], 0).unwrap();
        assert_eq!(alone.item(0), ours.item(1), "{name}: alone and in a batch");
    }
}

#[test]
fn a_global_row_is_the_sum_of_flattened_gradients_projected_for_every_family() {
    let dim = 7;
    for (number, (name, path)) in cases().into_iter().enumerate() {
        let signs = [Signs::Pcg64, Signs::Philox][number / 4 % 2];
        let scale = [Scale::Jl, Scale::Jl, Scale::RowNorm][number % 3];
        let optimizer = [None, Some(Optimizer::Adafactor), None, Some(ADAM)][number % 4];
        let projection = Projection { target: ProjectionTarget::Global, ..Projection::per_module(dim, scale, signs) };
        let tokens = expected(&path).tokens;
        let items = items(&tokens);
        let decoder = model(&path);
        let stored = decoder.leaves().parameters();
        let read = |parameter: &str| Ok(optimizer.map(|optimizer| moments(stored[parameter].0, optimizer)));
        let beside = if number % 5 < 2 { Beside::default() } else { everything(&decoder) };
        let projector = Projector::of(&decoder, |_| true, beside, projection, &read).unwrap();
        assert_eq!(projector.width(), dim);
        let ours = projector.project(&items, MEMORY).unwrap();
        for (index, item) in items.iter().enumerate() {
            let whole = whole(&decoder, item, optimizer);
            let mut wanted = vec![0f64; dim];
            for module in projector.modules() {
                let (gradient, inverted) = &whole[&module.name];
                let (out, input) = (module.out, module.input);
                let count = out * input;
                let columns = SignColumns::global(signs, &module.name, dim, count);
                let divisor = if scale == Scale::Jl { dim } else { count } as f64;
                for (row, sum) in wanted.iter_mut().enumerate() {
                    let mut at = 0;
                    columns.each(row, 0..count, |is_positive| {
                        // Row by row of [out, in].
                        let stored = if *inverted { at % input * out + at / input } else { at };
                        let value = f64::from(gradient.values[stored]);
                        *sum += (if is_positive { value } else { -value }) / divisor.sqrt();
                        at += 1;
                    });
                }
            }
            let wanted: Vec<f32> = wanted.into_iter().map(|value| value as f32).collect();
            close(&wanted, ours.item(index), &format!("{name}, {signs:?}, {scale:?}, item {index}"));
        }
        assert_eq!(projector.project(&items[1..2], 0).unwrap().item(0), ours.item(1), "{name}");
    }
}

#[test]
fn rows_of_tokens_add_up_to_their_items_row_for_every_family() {
    for (number, (name, path)) in cases().into_iter().enumerate() {
        let target = [ProjectionTarget::PerModule, ProjectionTarget::Global][usize::from(number % 4 == 3)];
        let projection = Projection { target, ..Projection::per_module(3, Scale::Jl, Signs::Philox) };
        // Adam's scaling is built row by row.
        let optimizer = (number % 7 == 0).then_some(ADAM);
        let tokens = expected(&path).tokens;
        let items = items(&tokens);
        let decoder = model(&path);
        let stored = decoder.leaves().parameters();
        let read = |parameter: &str| Ok(optimizer.map(|optimizer| moments(stored[parameter].0, optimizer)));
        let of = |row_of| {
            Projector::of(&decoder, |_| true, everything(&decoder), projection, &read).unwrap().with_rows_of(row_of)
        };
        let (by_item, by_token) = (of(RowOf::Item), of(RowOf::Token));
        let sums = by_item.project(&items, MEMORY).unwrap();
        let rows = by_token.project(&items, MEMORY).unwrap();
        for (index, item) in items.iter().enumerate() {
            let own = rows.item(index);
            // The last token predicts nothing.
            assert_eq!(own.len(), (item.tokens.len() - 1) * rows.width, "{name}");
            let total: Vec<f32> =
                (0..rows.width).map(|column| own[column..].iter().step_by(rows.width).sum()).collect();
            close(sums.item(index), &total, &format!("{name}, item {index}"));
            // A prompt's tokens have gradients as well: what comes after them attends to them.
            let Loss::Nll { span, .. } = item.loss else { panic!() };
            if let Some(before) = span.start.checked_sub(2) {
                let row = &own[before * rows.width..][..rows.width];
                assert!(row.iter().any(|value| *value != 0.0), "{name}");
            }
            assert_eq!(by_token.project(&items[index..=index], 0).unwrap().values, own, "{name}");
        }
        assert_eq!(rows.losses, sums.losses);
    }
}

/// A token's part of one linear map: its input, captured, and the gradient of its output, which is that of a site.
#[test]
fn a_tokens_row_is_the_product_of_its_own_activations() {
    let (_, path) = cases().into_iter().find(|(name, _)| name == "llama_gqa9x3").unwrap();
    let tokens = expected(&path).tokens;
    let item = &items(&tokens)[1..2];
    let decoder = model(&path);
    let (input_site, output_site) = (Site::Block(1, BlockSite::MlpPost), Site::Block(1, BlockSite::MlpOut));
    let captures = [input_site];
    let mut taps = Taps::new(decoder.kernels(), &captures, &[], 0);
    decoder.forward(&item[0].tokens[..8], &mut decoder.empty_cache(), &mut taps).unwrap();
    let input = taps.into_captured().unwrap().remove(&input_site).unwrap();
    let reach = Reach { sites: &[output_site], memory: MEMORY, ..Reach::default() };
    let gradient = decoder.reverse(item, reach, &mut Nothing).unwrap().sites.remove(&output_site).unwrap();
    let projection = Projection::per_module(4, Scale::Jl, Signs::Pcg64);
    let projector = Projector::new(&decoder, |name| name.contains("layers.1.mlp.down"), projection).unwrap();
    let projector = projector.with_rows_of(RowOf::Token);
    let rows = projector.project(item, MEMORY).unwrap();
    let (out, width) = (gradient.shape[1], input.shape[1]);
    assert_eq!(rows.values.len(), 8 * 16);
    for (token, row) in rows.values.chunks(16).enumerate() {
        let (g, a) = (&gradient.values[token * out..][..out], &input.values[token * width..][..width]);
        let values = g.iter().flat_map(|g| a.iter().map(move |a| g * a)).collect();
        let term = SiteValues { shape: vec![out, width], values };
        let wanted = projected(&projector.modules()[0].name, &term, false, projection);
        close(&wanted, row, &format!("token {token}"));
    }
}
