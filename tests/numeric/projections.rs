//! Projected gradients of items: against whole gradients, projected.

use std::collections::BTreeMap;

use veval::feedback::moments::{Optimizer, ParameterMoments, SecondMoment};
use veval::feedback::{
    Beside, Collect, Direction, Directions, Gathered, Projection, Projector, Rule, Scale, Side, Signs, Target, collect,
    module_of, precondition, rademacher,
};
use veval::kernels::View;
use veval::kernels::cpu::Cpu;
use veval::kernels::tape::Tape;
use veval::model::{Loss, Objective, Place, Reach, Summed, WeightGradients};
use veval::request::{GradSpan, SiteValues};

use crate::support::{cases, expected, open};

pub const MEMORY: usize = 1 << 30;

pub fn items(tokens: &[u32]) -> Vec<Objective<'_>> {
    let item = |from: usize, to: usize, start: usize| Objective {
        tokens: &tokens[from..to],
        loss: Loss::Nll { span: GradSpan { start, end: to - from }, mean: false },
    };
    vec![item(0, 17, 9), item(3, 12, 1), item(0, 6, 5)]
}

/// `P_L G P_R^T` with a gradient as it is stored: `[out, in]`, or `[in, out]` where `inverted`.
pub fn projected(name: &str, gradient: &SiteValues, inverted: bool, projection: Projection) -> Vec<f32> {
    let (rows, columns) = (gradient.shape[0], gradient.shape[1]);
    let (out, input) = if inverted { (columns, rows) } else { (rows, columns) };
    let g = |o: usize, i: usize| gradient.values[if inverted { i * columns + o } else { o * columns + i }];
    let dim = projection.dim;
    let left = rademacher(projection.signs, name, Side::Left, dim, out, projection.scale);
    let right = rademacher(projection.signs, name, Side::Right, dim, input, projection.scale);
    let half: Vec<f64> = (0..dim * input)
        .map(|at| (0..out).map(|o| f64::from(left[at / input * out + o]) * f64::from(g(o, at % input))).sum())
        .collect();
    (0..dim * dim)
        .map(|at| (0..input).map(|i| half[at / dim * input + i] * f64::from(right[at % dim * input + i])).sum::<f64>())
        .map(|value| value as f32)
        .collect()
}

#[test]
fn are_whole_gradients_projected_for_every_family() {
    let mut worst = 0f32;
    for (number, (name, path)) in cases().into_iter().enumerate() {
        let signs = [Signs::Pcg64, Signs::Philox][number % 2];
        let projection = Projection::per_module(5, Scale::Jl, signs);
        let tokens = expected(&path).tokens;
        let items = items(&tokens);
        let model = open(&path, Tape::new(Cpu::new(veval::kernels::cpu::Isa::best(), 2)));
        let decoder = &model.decoder;
        let projector = Projector::new(decoder, |_| true, projection).unwrap();
        let ours = projector.project(&items, MEMORY).unwrap();
        let maps: BTreeMap<&str, bool> = decoder
            .leaves()
            .sources()
            .iter()
            .enumerate()
            .filter(|(number, source)| {
                matches!(decoder.leaves().place(*number), Place::Block(_)) && source.is_linear_map()
            })
            .map(|(_, source)| (source.name.as_str(), matches!(source.view, View::Columns { .. })))
            .collect();
        assert_eq!(maps.len(), projector.modules().len(), "{name}");
        for (index, item) in items.iter().enumerate() {
            let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
            let reach = Reach { memory: MEMORY, ..Reach::default() };
            let losses = decoder.reverse(std::slice::from_ref(item), reach, &mut weights).unwrap().losses;
            assert_eq!(losses[0].to_bits(), ours.losses[index].to_bits());
            let whole = weights.into_parameters().unwrap();
            for (module, values) in projector.modules().iter().zip(ours.item(index).chunks(25)) {
                let full = whole.keys().find(|key| key.ends_with(".weight") && module_of(key) == module.name);
                let full = full.unwrap_or_else(|| panic!("{name}: no parameter of {}", module.name));
                let wanted = projected(&module.name, &whole[full], maps[full.as_str()], projection);
                let scale = wanted.iter().fold(1e-3f32, |max, value| max.max(value.abs()));
                let off = wanted.iter().zip(values).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
                assert!(off < 1e-4, "{name}: {} of item {index} is off by {off}", module.name);
                worst = worst.max(off);
            }
        }
    }
    println!("largest relative difference: {worst}");
}

#[test]
fn an_item_alone_has_the_bits_that_it_has_in_a_batch() {
    let projection = Projection::per_module(4, Scale::RowNorm, Signs::Philox);
    let (_, path) = cases().into_iter().find(|(name, _)| name.contains("moe")).unwrap();
    let tokens = expected(&path).tokens;
    let items = items(&tokens);
    let of = |items: &[Objective<'_>], threads: usize, memory: usize| {
        let model = open(&path, Tape::new(Cpu::new(veval::kernels::cpu::Isa::best(), threads)));
        let projector = Projector::new(&model.decoder, |name| name.contains("mlp"), projection).unwrap();
        assert!(projector.modules().iter().all(|module| module.name.contains("mlp")));
        projector.project(items, memory).unwrap()
    };
    let batch = of(&items, 2, MEMORY);
    for (index, item) in items.iter().enumerate() {
        let alone = of(std::slice::from_ref(item), 1, 0);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(alone.item(0)), bits(batch.item(index)));
        assert!(alone.item(0).iter().any(|value| *value != 0.0));
    }
}

#[test]
fn parameters_without_a_linear_map_are_refused() {
    let (_, path) = &cases()[0];
    let model = open(path, Tape::new(Cpu::default()));
    let projection = Projection::per_module(4, Scale::Jl, Signs::Pcg64);
    let error = Projector::new(&model.decoder, |name| name.contains("norm"), projection).err().unwrap();
    assert!(error.to_string().contains("weight of a linear map inside a block"), "{error}");
}

#[test]
fn collected_rows_do_not_depend_on_how_items_are_batched() {
    let (_, path) = cases().into_iter().find(|(name, _)| name == "llama_gqa9x3").unwrap();
    let tokens = expected(&path).tokens;
    let target = |from: usize, to: usize, start: usize| Target {
        id: format!("item/{from}-{to}"),
        tokens: tokens[from..to].to_vec(),
        start,
    };
    let targets = [target(0, 17, 9), target(3, 12, 1), target(0, 6, 5), target(2, 9, 3), target(1, 16, 14)];
    let model = open(&path, Tape::new(Cpu::default()));
    let projection = Projection::per_module(3, Scale::Jl, Signs::Pcg64);
    let projector = Projector::new(&model.decoder, |_| true, projection).unwrap();
    let gathered = |batch_tokens: usize, done: usize, mean: bool| {
        let (mut rows, mut losses, mut next) = (Vec::new(), Vec::new(), done);
        let how = Collect { mean, batch_tokens, memory: MEMORY };
        let sink = &mut |batch: &Gathered<'_>| {
            assert_eq!(batch.first, next);
            next += batch.losses.len();
            rows.extend(batch.values.iter().map(|value| value.to_bits()));
            losses.extend_from_slice(batch.losses);
            Ok(())
        };
        collect(&projector, &targets, done, how, sink).unwrap();
        assert_eq!(next, targets.len());
        (rows, losses)
    };
    let all = gathered(1, 0, false);
    assert_eq!(all.0.len(), 5 * projector.width());
    assert_eq!(gathered(30, 0, false), all);
    assert_eq!(gathered(1000, 0, false), all);
    assert_eq!(gathered(30, 2, false).0, all.0[2 * projector.width()..]);
    // The mean over the eight targets of the second item is an eighth of its sum.
    let mean = gathered(1000, 0, true);
    assert!((mean.1[1] * 8.0 - all.1[1]).abs() < 1e-4, "{} {}", mean.1[1], all.1[1]);

    let broken = [target(0, 17, 9), target(3, 12, 0)];
    let how = Collect { mean: false, batch_tokens: 1000, memory: MEMORY };
    let error = collect(&projector, &broken, 0, how, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("item/3-12") && error.contains("nothing predicts"), "{error}");
}

#[test]
fn inner_products_with_directions_are_those_of_whole_gradients_for_every_family() {
    for (name, path) in cases() {
        let tokens = expected(&path).tokens;
        let items = items(&tokens);
        let model = open(&path, Tape::new(Cpu::new(veval::kernels::cpu::Isa::best(), 2)));
        let decoder = &model.decoder;
        let whole: Vec<Direction> = items
            .iter()
            .map(|item| {
                let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
                let reach = Reach { memory: MEMORY, ..Reach::default() };
                decoder.reverse(std::slice::from_ref(item), reach, &mut weights).unwrap();
                weights.into_parameters().unwrap()
            })
            .collect();
        let norms = |direction: &Direction| dot(direction, direction).sqrt();
        // A direction of its own for every parameter, so that none hides another; then all of another item at once.
        let single: Vec<Direction> =
            whole[0].iter().map(|(name, values)| Direction::from([(name.clone(), values.clone())])).collect();
        let directions: Vec<&Direction> = single.iter().chain(&whole).collect();
        // A number for each value, that is zero somewhere and differs from value to value.
        let scale = |values: &SiteValues| SiteValues {
            shape: values.shape.clone(),
            values: (0..values.values.len()).map(|at| ((at * 37 + 11) % 101) as f32 * 0.1).collect(),
        };
        let scaling: Direction = whole[0].iter().map(|(name, values)| (name.clone(), scale(values))).collect();
        let compared = Directions::new(decoder, &directions, Some(&scaling)).unwrap();
        let products = compared.products(&items, MEMORY).unwrap();
        for (own, found) in whole.iter().zip(&products) {
            for (direction, found) in directions.iter().zip(&found.products) {
                let (wanted, scale) = (dot(own, direction), norms(own) * norms(direction));
                assert!((wanted - found).abs() <= 1e-5 * scale, "{name}: {wanted} {found}");
            }
            let scaled: Direction =
                own.iter().map(|(name, values)| (name.clone(), times(values, &scaling[name]))).collect();
            let sums = found.scaled.unwrap();
            for (wanted, found) in [
                (dot(own, own), found.squared_norm),
                (dot(own, &scaled), sums.along),
                (dot(&scaled, &scaled), sums.squared_norm),
            ] {
                assert!((wanted - found).abs() <= 1e-4 * wanted, "{name}: {wanted} {found}");
            }
        }
        assert_eq!(compared.products(&items[1..2], 0).unwrap()[0], products[1], "{name}");
    }
}

fn times(a: &SiteValues, b: &SiteValues) -> SiteValues {
    let values = a.values.iter().zip(&b.values).map(|(a, b)| a * b).collect();
    SiteValues { shape: a.shape.clone(), values }
}

fn dot(a: &Direction, b: &Direction) -> f64 {
    let both = a.iter().filter_map(|(name, own)| Some((own, b.get(name)?)));
    both.flat_map(|(a, b)| a.values.iter().zip(&b.values)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn directions_of_another_model_are_refused_whole() {
    let (_, path) = &cases()[0];
    let model = open(path, Tape::new(Cpu::default()));
    let values = |shape: &[usize]| SiteValues { values: vec![0.0; shape.iter().product()], shape: shape.to_vec() };
    let (name, (shape, _)) = model.decoder.leaves().parameters().into_iter().next().unwrap();
    let direction = Direction::from([
        (name.to_owned(), values(&[shape[0] + 1, 2])),
        ("model.none.weight".to_owned(), values(&[2, 2])),
    ]);
    let error = Directions::new(&model.decoder, &[&direction], None).err().unwrap().to_string();
    assert!(error.contains(name) && error.contains("model.none.weight"), "{error}");
}

/// Second moments that differ from entry to entry, and are no optimizer's.
pub fn moments(shape: &[usize], optimizer: Optimizer) -> ParameterMoments {
    let squares = |count: usize| (0..count).map(|at| ((at * 37 + 11) % 101) as f32 * 1e-4 + 1e-6).collect();
    let count: usize = shape.iter().product();
    let second = match (optimizer, shape) {
        (Optimizer::Adafactor, [.., rows, columns]) => {
            SecondMoment::Factored { rows: squares(count / columns), columns: squares(count / rows) }
        }
        _ => SecondMoment::Full(squares(count)),
    };
    ParameterMoments { optimizer, shape: shape.to_vec(), step: 7, second, first: None }
}

#[test]
fn what_an_optimizer_makes_of_gradients_is_projected_for_every_family() {
    let projection = Projection::per_module(4, Scale::Jl, Signs::Philox);
    for optimizer in [Optimizer::Adam { beta1: 0.9, beta2: 0.99, eps: 1e-6 }, Optimizer::Adafactor] {
        for (name, path) in cases() {
            let tokens = expected(&path).tokens;
            let items = items(&tokens);
            let model = open(&path, Tape::new(Cpu::new(veval::kernels::cpu::Isa::best(), 2)));
            let decoder = &model.decoder;
            let stored = decoder.leaves().parameters();
            let read = |parameter: &str| Ok(Some(moments(stored[parameter].0, optimizer)));
            let projector = Projector::of(decoder, |_| true, Beside::default(), projection, &read).unwrap();
            let ours = projector.project(&items, MEMORY).unwrap();
            let inverted: BTreeMap<&str, bool> = decoder
                .leaves()
                .sources()
                .iter()
                .map(|source| (source.name.as_str(), matches!(source.view, View::Columns { .. })))
                .collect();
            for (index, item) in items.iter().enumerate() {
                let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
                let reach = Reach { memory: MEMORY, ..Reach::default() };
                decoder.reverse(std::slice::from_ref(item), reach, &mut weights).unwrap();
                let mut whole = weights.into_parameters().unwrap();
                for (module, values) in projector.modules().iter().zip(ours.item(index).chunks(16)) {
                    let full = whole.keys().find(|key| key.ends_with(".weight") && module_of(key) == module.name);
                    let full = full.unwrap_or_else(|| panic!("{name}: no parameter of {}", module.name)).clone();
                    let gradient = whole.get_mut(&full).unwrap();
                    precondition(&mut gradient.values, &moments(&gradient.shape, optimizer), Rule::Optimizer).unwrap();
                    let wanted = projected(&module.name, gradient, inverted[full.as_str()], projection);
                    let scale = wanted.iter().fold(1e-3f32, |max, value| max.max(value.abs()));
                    let off = wanted.iter().zip(values).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
                    assert!(off < 1e-4, "{name}, {optimizer:?}: {} of item {index} is off by {off}", module.name);
                }
            }
            let alone = projector.project(&items[1..2], 0).unwrap();
            assert_eq!(alone.item(0), ours.item(1), "{name}");
        }
    }
}
