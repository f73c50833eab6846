//! The reverse pass: against gradients that torch recorded, against candle's tape, against differences, and against
//! itself in other cuts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use veval::kernels::candle::Candle;
use veval::kernels::cpu::{Cpu, Isa};
use veval::kernels::tape::{Nothing, Tape};
use veval::model::{LoadOptions, Loaded, LogitTerm, Loss, Objective, Reach, Summed, WeightGradients, load, row_ranges};
use veval::request::site::BLOCK_SITES;
use veval::request::{Edit, EditOp, GradSpan, Positions, Site, SiteValues};

use crate::support::{cases, expected, largest_difference, open};

const SPAN: GradSpan = GradSpan { start: 9, end: 17 };
const ALL: usize = usize::MAX;

type Gradients = BTreeMap<String, SiteValues>;

fn taped(path: &Path, cpu: Cpu) -> Loaded<Tape<Cpu>> {
    open(path, Tape::new(cpu))
}

fn nll(tokens: &[u32], span: GradSpan) -> Objective<'_> {
    Objective { tokens, loss: Loss::Nll { span, mean: false } }
}

/// Losses and the gradient of every parameter.
fn gradients(
    model: &Loaded<Tape<Cpu>>,
    items: &[Objective<'_>],
    summed: Summed,
    memory: usize,
) -> (Vec<f64>, Gradients) {
    let mut weights = WeightGradients::new(&model.decoder, |_| true, summed);
    let reversed = model.decoder.reverse(items, Reach { memory, ..Reach::default() }, &mut weights).unwrap();
    (reversed.losses, weights.into_parameters().unwrap())
}

/// Largest difference over all parameters, each relative to its own maximum.
fn worst(ours: &Gradients, theirs: &BTreeMap<String, &SiteValues>, name: &str) -> (f32, String) {
    assert_eq!(ours.len(), theirs.len(), "{name}: another set of parameters");
    let relative = |(key, ours): (&String, &SiteValues)| {
        let theirs = theirs[key];
        assert_eq!(ours.shape, theirs.shape, "{name}: {key}");
        let scale = theirs.values.iter().fold(0f32, |max, value| max.max(value.abs())).max(1e-3);
        (largest_difference(&ours.values, &theirs.values) / scale, format!("{name}: {key}"))
    };
    ours.iter().map(relative).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn bits(gradients: &Gradients) -> Vec<u32> {
    gradients.values().flat_map(|gradient| gradient.values.iter().map(|value| value.to_bits())).collect()
}

#[test]
fn equals_torch_and_candle_for_every_parameter_of_every_family() {
    let (mut from_torch, mut from_candle) = ((0f32, String::new()), (0f32, String::new()));
    for (name, path) in cases() {
        let expected = expected(&path);
        let model = taped(&path, Cpu::default());
        let (losses, ours) = gradients(&model, &[nll(&expected.tokens, SPAN)], Summed::Pass, ALL);
        assert!((losses[0] - f64::from(expected.floats["loss"].values[0])).abs() < 1e-4, "{name}: loss");
        let torch: BTreeMap<String, &SiteValues> = expected
            .floats
            .iter()
            .filter_map(|(key, values)| Some((key.strip_prefix("grad.")?.to_owned(), values)))
            .collect();
        let torch = worst(&ours, &torch, &name);
        assert!(torch.0 < 1e-3, "{} differs by {} from torch's", torch.1, torch.0);
        let tracked =
            load(&path, Candle::cpu_tracked(), LoadOptions { keep_raw: true, ..LoadOptions::default() }).unwrap();
        let (_, candle) = tracked.decoder.span_gradients(&expected.tokens, SPAN).unwrap();
        let candle = worst(&ours, &candle.iter().map(|(key, values)| (key.clone(), values)).collect(), &name);
        assert!(candle.0 < 1e-4, "{} differs by {} from candle's", candle.1, candle.0);
        from_torch = if torch.0 > from_torch.0 { torch } else { from_torch };
        from_candle = if candle.0 > from_candle.0 { candle } else { from_candle };
    }
    println!("largest relative difference from torch: {from_torch:?}, from candle: {from_candle:?}");
}

/// One of each kind of block.
fn some() -> Vec<(String, PathBuf)> {
    let wanted = ["llama_head_dim", "gpt2_odd", "neox", "gemma2", "moe", "olmo2"];
    let found: Vec<_> = cases().into_iter().filter(|(name, _)| wanted.iter().any(|w| name.contains(w))).collect();
    assert!(found.len() >= wanted.len(), "{found:?}");
    found
}

#[test]
fn an_items_gradient_depends_on_the_item_alone() {
    for (name, path) in some() {
        let tokens = expected(&path).tokens;
        let model = taped(&path, Cpu::default());
        let items = [
            nll(&tokens, SPAN),
            nll(&tokens[3..12], GradSpan { start: 1, end: 9 }),
            nll(&tokens[..6], GradSpan { start: 5, end: 6 }),
        ];
        let ranges = row_ranges(&items);
        let alone: Vec<(Vec<f64>, Gradients)> =
            items.iter().map(|item| gradients(&model, std::slice::from_ref(item), Summed::Pass, ALL)).collect();
        for (index, range) in ranges.iter().enumerate() {
            for memory in [0, 30_000, ALL] {
                let (losses, batch) = gradients(&model, &items, Summed::Items(vec![range.clone()]), memory);
                assert_eq!(losses[index].to_bits(), alone[index].0[0].to_bits(), "{name}, item {index}: loss");
                assert_eq!(bits(&batch), bits(&alone[index].1), "{name}, item {index}, {memory} bytes");
            }
        }
        let mut sum = alone[0].1.clone();
        for (_, more) in &alone[1..] {
            for (key, values) in more {
                let own = &mut sum.get_mut(key).unwrap().values;
                own.iter_mut().zip(&values.values).for_each(|(sum, value)| *sum += value);
            }
        }
        for summed in [Summed::Items(ranges), Summed::Pass] {
            let (_, all) = gradients(&model, &items, summed, ALL);
            let (difference, place) = worst(&all, &sum.iter().map(|(k, v)| (k.clone(), v)).collect(), &name);
            assert!(difference < 1e-5, "{place}: the batch is not the sum of its items, by {difference}");
        }
    }
}

#[test]
fn threads_and_instruction_sets_change_no_bit() {
    for (name, path) in some() {
        let tokens = expected(&path).tokens;
        let of = |cpu: Cpu| bits(&gradients(&taped(&path, cpu), &[nll(&tokens, SPAN)], Summed::Pass, ALL).1);
        let wanted = of(Cpu::new(Isa::PORTABLE, 1));
        for isa in Isa::available() {
            for threads in [1, 3] {
                assert_eq!(of(Cpu::new(isa, threads)), wanted, "{name}: {isa:?}, {threads} threads");
            }
        }
    }
}

/// Every site of a model.
fn sites(model: &Loaded<Tape<Cpu>>) -> Vec<Site> {
    let blocks = (0..model.decoder.spec().layers)
        .flat_map(|layer| BLOCK_SITES.iter().map(move |info| Site::Block(layer, info.site)));
    let all = [Site::Embed, Site::PosEmbed].into_iter().chain(blocks).chain([Site::FinalScale, Site::FinalNormalized]);
    all.filter(|site| model.decoder.check_sites(&[*site], &[]).is_ok()).collect()
}

/// The gradient at each site, alone in its pass, predicts what a small step there does.
#[test]
fn gradients_at_sites_predict_small_steps() {
    let (mut checked, mut flat) = (0, 0);
    for (name, path) in some() {
        let tokens = expected(&path).tokens;
        let model = taped(&path, Cpu::default());
        let item = [nll(&tokens, SPAN)];
        let loss_with = |edits: &[Edit], sites: &[Site]| {
            model.decoder.reverse(&item, Reach { edits, sites, memory: ALL }, &mut Nothing).unwrap()
        };
        for site in sites(&model) {
            let gradient = loss_with(&[], &[site]).sites.remove(&site).unwrap();
            let width = *gradient.shape.last().unwrap();
            let length = gradient.values.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if length < 1e-6 {
                // Scores and patterns of a position that sees only itself have no slope; others do.
                assert!(!site.to_string().contains("resid"), "{name}: no gradient at {site}");
                continue;
            }
            let captured = captured(&model, &tokens[..SPAN.end - 1], site);
            assert_eq!(captured.shape, gradient.shape, "{name}: {site}");
            // Small against the activation, since a site may be followed by a norm.
            let size = captured.values.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let step = (3e-3 / length).min(1e-2 * size.sqrt());
            if step * length < 1e-4 {
                flat += 1;
                continue;
            }
            let moved = |sign: f64| {
                let values = captured.values.iter().zip(&gradient.values);
                let values = values.map(|(x, g)| (f64::from(*x) + sign * step / length * f64::from(*g)) as f32);
                let patch = SiteValues { shape: captured.shape.clone(), values: values.collect() };
                let edit = Edit { site, positions: Positions::All, head: None, op: EditOp::Replace(patch) };
                loss_with(&[edit], &[]).losses[0]
            };
            let (measured, predicted) = (moved(1.0) - moved(-1.0), 2.0 * step * length / length * length);
            let off = (measured / predicted - 1.0).abs();
            assert!(off < 2e-2, "{name}: {site} ({width}): measured {measured}, predicted {predicted}");
            checked += 1;
        }
    }
    println!("{checked} sites, and {flat} that are too flat to measure");
    assert!(checked > 300 && flat < checked / 10, "{checked} sites, {flat} too flat");
}

fn captured(model: &Loaded<Tape<Cpu>>, tokens: &[u32], site: Site) -> SiteValues {
    crate::support::run(model, tokens, &[site], &[]).1.remove(&site).unwrap()
}

/// The other losses, by steps of the embedding along their own gradients.
#[test]
fn every_loss_is_differentiated() {
    for (name, path) in some() {
        let tokens = expected(&path).tokens[..12].to_vec();
        let model = taped(&path, Cpu::default());
        let vocab = model.decoder.spec().vocab;
        let margin = Loss::margin(10, 3, 4);
        let terms: Vec<LogitTerm> =
            margin.into_iter().chain([LogitTerm { position: 2, token: 1, weight: 0.5 }]).collect();
        let uniform = vec![-(vocab as f32).ln(); vocab];
        let reference = vec![(4, uniform.clone()), (11, uniform)];
        let site: Site = "blocks.1.hook_resid_pre".parse().unwrap();
        let shape = captured(&model, &tokens, site).shape;
        let values = (0..shape.iter().product()).map(|i: usize| ((i * 7 % 13) as f32 - 6.0) / 6.0).collect();
        let direction = SiteValues { shape, values };
        let losses = [
            Loss::Nll { span: GradSpan { start: 2, end: 12 }, mean: true },
            Loss::Logits(&terms),
            Loss::Kl(&reference),
            Loss::Site { site, values: &direction },
        ];
        for loss in losses {
            let items = [Objective { tokens: &tokens, loss: loss.clone() }];
            let at = |edits: &[Edit], sites: &[Site]| {
                model.decoder.reverse(&items, Reach { edits, sites, memory: ALL }, &mut Nothing).unwrap()
            };
            let gradient = at(&[], &[Site::Embed]).sites.remove(&Site::Embed).unwrap();
            let embedded = captured(&model, &tokens[..gradient.shape[0]], Site::Embed);
            let length = gradient.values.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            assert!(length > 1e-5, "{name}: {loss:?} has no gradient");
            let step = 2e-3 / length;
            let moved = |sign: f64| {
                let values = embedded.values.iter().zip(&gradient.values);
                let values = values.map(|(x, g)| (f64::from(*x) + sign * step / length * f64::from(*g)) as f32);
                let patch = SiteValues { shape: embedded.shape.clone(), values: values.collect() };
                let op = EditOp::Replace(patch);
                at(&[Edit { site: Site::Embed, positions: Positions::All, head: None, op }], &[]).losses[0]
            };
            let (measured, predicted) = (moved(1.0) - moved(-1.0), 2.0 * step * length);
            assert!((measured / predicted - 1.0).abs() < 2e-2, "{name}: measured {measured}, predicted {predicted}");
        }
    }
}

#[test]
fn a_loss_without_gradient_is_refused_by_item() {
    let (_, path) = &some()[0];
    let tokens = expected(path).tokens;
    let model = taped(path, Cpu::default());
    let items = [
        nll(&tokens, SPAN),
        nll(&tokens, GradSpan { start: 0, end: 1 }),
        nll(&tokens, GradSpan { start: 4, end: 4 }),
        nll(&tokens, GradSpan { start: 4, end: 400 }),
        Objective { tokens: &tokens, loss: Loss::Logits(&[LogitTerm { position: 1, token: 1 << 30, weight: 1.0 }]) },
    ];
    let error = model.decoder.reverse(&items, Reach::default(), &mut Nothing).unwrap_err().to_string();
    for part in ["item 1", "item 2", "item 3", "item 4", "nothing predicts the first token", "at least one token"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("item 0"), "{error}");
}

/// A head that an edit silences leaves its share of the output projection without a gradient.
#[test]
fn weights_are_differentiated_under_the_edits_in_force() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/llama_head_dim");
    let tokens = expected(&path).tokens;
    let model = taped(&path, Cpu::default());
    let spec = model.decoder.spec();
    let (heads, width) = (spec.heads, spec.head_width);
    let site = "blocks.0.attn.hook_result".parse().unwrap();
    let of = |edits: &[Edit]| {
        let mut weights =
            WeightGradients::new(&model.decoder, |name| name.contains("0.self_attn.o_proj"), Summed::Pass);
        let reach = Reach { edits, memory: ALL, ..Reach::default() };
        model.decoder.reverse(&[nll(&tokens, SPAN)], reach, &mut weights).unwrap();
        weights.into_parameters().unwrap().into_values().next().unwrap()
    };
    let share = |gradient: &SiteValues, head: usize| -> f32 {
        let columns = head * width..(head + 1) * width;
        let rows = gradient.values.chunks(heads * width);
        rows.flat_map(|row| row[columns.clone()].iter().map(|g| g.abs())).fold(0.0, f32::max)
    };
    let silenced = of(&[Edit { site, positions: Positions::All, head: Some(1), op: EditOp::Scale(0.0) }]);
    let plain = of(&[]);
    for head in 0..heads {
        assert!(share(&plain, head) > 1e-4, "head {head}");
        assert_eq!(share(&silenced, head) < 1e-6, head == 1, "head {head}: {}", share(&silenced, head));
    }
}

#[test]
fn neighbours_with_other_losses_change_no_bit_and_sites_that_hide_each_other_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/llama_head_dim");
    let tokens = expected(&path).tokens;
    let model = taped(&path, Cpu::default());
    let terms = Loss::margin(5, 3, 4);
    let margin = Objective { tokens: &tokens[..8], loss: Loss::Logits(&terms) };
    let items = [nll(&tokens, SPAN), margin.clone(), nll(&tokens[..6], GradSpan { start: 5, end: 6 })];
    for (range, item) in row_ranges(&items).into_iter().zip(&items) {
        let (_, batch) = gradients(&model, &items, Summed::Items(vec![range]), ALL);
        let (_, alone) = gradients(&model, std::slice::from_ref(item), Summed::Pass, ALL);
        assert_eq!(bits(&batch), bits(&alone));
    }
    let sites = ["blocks.0.ln1.hook_scale", "blocks.0.hook_q_input"].map(|site| site.parse().unwrap());
    let reach = Reach { sites: &sites, memory: ALL, ..Reach::default() };
    let error = model.decoder.reverse(&items[..1], reach, &mut Nothing).unwrap_err().to_string();
    assert!(error.contains("beside a per-head input"), "{error}");
    let foreign = [1 << 30];
    let broken = [Objective { tokens: &foreign, loss: Loss::Logits(&[]) }];
    let error = model.decoder.reverse(&broken, Reach::default(), &mut Nothing).unwrap_err().to_string();
    assert!(error.contains("item 0") && error.contains("token ids below"), "{error}");
}
