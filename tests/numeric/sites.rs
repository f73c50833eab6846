//! Captures and edits: every site exists where it should, an edit that changes nothing changes no bit, and one that
//! changes something does what it says.

use veval::kernels::Kernels;
use veval::model::Loaded;
use veval::request::site::{BLOCK_SITES, BlockSite};
use veval::request::{Edit, EditOp, Positions, Site, SiteValues};

use crate::support::{cases, expected, largest_difference, on_both, open, run};

/// All sites that this model has.
fn sites<K: Kernels>(model: &Loaded<K>) -> Vec<Site> {
    let decoder = &model.decoder;
    let blocks =
        (0..decoder.spec().layers).flat_map(|layer| BLOCK_SITES.iter().map(move |i| Site::Block(layer, i.site)));
    let outer = [Site::Embed, Site::PosEmbed, Site::FinalScale, Site::FinalNormalized];
    outer.into_iter().chain(blocks).filter(|site| decoder.check_sites(&[*site], &[]).is_ok()).collect()
}

on_both! {
    patching_a_site_with_its_own_value_and_zero_steering_change_no_bit = check_patching_a_site_with_its_own_value_and_zero_steering_change_no_bit;
    an_edit_at_every_site_reaches_the_logits = check_an_edit_at_every_site_reaches_the_logits;
    positions_and_heads_limit_an_edit = check_positions_and_heads_limit_an_edit;
    per_head_inputs_agree_with_the_projections_they_feed = check_per_head_inputs_agree_with_the_projections_they_feed;
    absent_sites_and_wrong_shapes_are_refused_by_name = check_absent_sites_and_wrong_shapes_are_refused_by_name;
}

fn edit(site: Site, op: EditOp) -> Edit {
    Edit { site, positions: Positions::All, head: None, op }
}

fn bits(values: &SiteValues) -> Vec<u32> {
    values.values.iter().map(|v| v.to_bits()).collect()
}

fn check_patching_a_site_with_its_own_value_and_zero_steering_change_no_bit<K: Kernels + Clone>(kernels: K) {
    let mut tried = 0;
    for (name, path) in cases() {
        let (model, expected) = (open(&path, kernels.clone()), expected(&path));
        let (plain, _) = run(&model, &expected.tokens, &[], &[]);
        for site in sites(&model) {
            let (same, captured) = run(&model, &expected.tokens, &[site], &[]);
            assert_eq!(bits(&same), bits(&plain), "{name}: capturing {site} changed the logits");
            let own = captured[&site].clone();
            let width = *own.shape.last().unwrap();
            let ops = [EditOp::Replace(own), EditOp::Add(vec![0.0; width]), EditOp::Scale(1.0)];
            for op in ops {
                let (patched, _) = run(&model, &expected.tokens, &[], &[edit(site, op.clone())]);
                assert_eq!(bits(&patched), bits(&plain), "{name}: {site} under {op:?}");
            }
            tried += 1;
        }
    }
    assert!(tried > 21 * 40, "{tried} sites");
}

fn check_an_edit_at_every_site_reaches_the_logits<K: Kernels + Clone>(kernels: K) {
    for (name, path) in cases() {
        let (model, expected) = (open(&path, kernels.clone()), expected(&path));
        let (plain, _) = run(&model, &expected.tokens, &[], &[]);
        for site in sites(&model) {
            // A constant added to all scores of a row cancels in the softmax; scaling does not.
            let (edited, captured) = run(&model, &expected.tokens, &[site], &[edit(site, EditOp::Scale(0.5))]);
            let moved = largest_difference(&edited.values, &plain.values);
            assert!(moved > 1e-5, "{name}: halving {site} moved no logit");
            let (_, whole) = run(&model, &expected.tokens, &[site], &[]);
            for (half, full) in captured[&site].values.iter().zip(&whole[&site].values) {
                assert!(*half == full * 0.5, "{name}: {site} was {full}, is {half}");
            }
        }
    }
}

fn check_positions_and_heads_limit_an_edit<K: Kernels + Clone>(kernels: K) {
    let (_, path) = cases().into_iter().find(|(name, _)| name == "llama_gqa9x3").unwrap();
    let (model, expected) = (open(&path, kernels.clone()), expected(&path));
    let vocab = model.decoder.spec().vocab;
    let (plain, _) = run(&model, &expected.tokens, &[], &[]);
    let site = Site::Block(0, BlockSite::Z);
    let one = Edit { site, positions: Positions::These(vec![5]), head: Some(2), op: EditOp::Scale(0.0) };
    let (edited, captured) = run(&model, &expected.tokens, &[site], std::slice::from_ref(&one));
    assert_eq!(edited.values[..5 * vocab], plain.values[..5 * vocab], "earlier positions cannot see it");
    assert_ne!(edited.values[5 * vocab..6 * vocab], plain.values[5 * vocab..6 * vocab]);
    let (_, before) = run(&model, &expected.tokens, &[site], &[]);
    let (heads, width) = (captured[&site].shape[1], captured[&site].shape[2]);
    for (i, (now, then)) in captured[&site].values.iter().zip(&before[&site].values).enumerate() {
        let (position, head) = (i / (heads * width), i / width % heads);
        assert_eq!(*now, if (position, head) == (5, 2) { 0.0 } else { *then });
    }
}

/// Attention of NeoX-like parallel blocks reads `resid_pre`, so patching the per-head inputs with another prompt's
/// residual must equal patching queries, keys and values themselves.
fn check_per_head_inputs_agree_with_the_projections_they_feed<K: Kernels + Clone>(kernels: K) {
    for (name, path) in cases() {
        let (model, expected) = (open(&path, kernels.clone()), expected(&path));
        let other: Vec<u32> = expected.tokens.iter().map(|t| (t + 1) % model.decoder.spec().vocab as u32).collect();
        for (input, output) in
            [(BlockSite::QInput, BlockSite::Q), (BlockSite::KInput, BlockSite::K), (BlockSite::VInput, BlockSite::V)]
        {
            let (input, output) = (Site::Block(1, input), Site::Block(1, output));
            let (_, captured) = run(&model, &other, &[input, output], &[]);
            let by_input = edit(input, EditOp::Replace(captured[&input].clone()));
            let by_output = edit(output, EditOp::Replace(captured[&output].clone()));
            let (a, _) = run(&model, &expected.tokens, &[], &[by_input]);
            let (b, _) = run(&model, &expected.tokens, &[], &[by_output]);
            assert_eq!(bits(&a), bits(&b), "{name}: {input}");
        }
    }
}

fn check_absent_sites_and_wrong_shapes_are_refused_by_name<K: Kernels + Clone>(kernels: K) {
    let (_, path) = cases().into_iter().find(|(name, _)| name == "neox_parallel").unwrap();
    let model = open(&path, kernels.clone());
    let asked = ["blocks.0.hook_resid_mid", "hook_pos_embed", "blocks.9.hook_z", "blocks.1.mlp.hook_pre_linear"];
    let asked: Vec<Site> = asked.iter().filter_map(|name| name.parse().ok()).collect();
    let message = model.decoder.check_sites(&asked, &[]).unwrap_err().to_string();
    assert!(message.contains("gpt_neox has no site blocks.0.hook_resid_mid: attention and MLP are added together"));
    assert!(
        message.contains("hook_pos_embed: positions are not learned") && message.contains("not gated"),
        "{message}"
    );
    let steer = edit(Site::Embed, EditOp::Add(vec![1.0; 3]));
    let decoder = &model.decoder;
    let edits = [steer];
    let mut taps = veval::model::Taps::new(decoder.kernels(), &[], &edits, 0);
    let error = decoder.forward(&[1, 2], &mut decoder.empty_cache(), &mut taps).err().unwrap().to_string();
    assert!(error.contains("expected a vector of 32, found 3"), "{error}");
}
