//! On the CPU kernels a row's bits depend on that row alone.

use veval::kernels::Kernels;
use veval::kernels::cpu::{Cpu, Isa};
use veval::model::{Loaded, Sequence, Taps};

use crate::support::{cases, expected, open, run};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Logits of every position when the sequence runs in passes of these lengths.
fn in_passes(model: &Loaded<Cpu>, tokens: &[u32], lengths: &[usize]) -> Vec<u32> {
    let decoder = &model.decoder;
    let (mut cache, mut first, mut all) = (decoder.empty_cache(), 0, Vec::new());
    for &length in lengths {
        let mut taps = Taps::none(decoder.kernels());
        let hidden = decoder.forward(&tokens[first..first + length], &mut cache, &mut taps).unwrap();
        all.extend(bits(&decoder.host_logits(&hidden, &(0..length).collect::<Vec<_>>()).unwrap().values));
        first += length;
    }
    assert_eq!(first, tokens.len());
    all
}

#[test]
fn the_cut_into_passes_changes_no_bit() {
    for (name, path) in cases() {
        let (model, expected) = (open(&path, Cpu::default()), expected(&path));
        let n = expected.tokens.len();
        let whole = in_passes(&model, &expected.tokens, &[n]);
        for first in 1..n {
            assert_eq!(in_passes(&model, &expected.tokens, &[first, n - first]), whole, "{name}: cut at {first}");
        }
        assert_eq!(in_passes(&model, &expected.tokens, &vec![1; n]), whole, "{name}: token by token");
    }
}

#[test]
fn instruction_sets_agree_to_the_bit() {
    assert!(Isa::available().contains(&Isa::PORTABLE));
    for (name, path) in cases() {
        let expected = expected(&path);
        let logits = |isa| bits(&run(&open(&path, Cpu::new(isa, 2)), &expected.tokens, &[], &[]).0.values);
        let portable = logits(Isa::PORTABLE);
        for isa in Isa::available() {
            assert_eq!(logits(isa), portable, "{name}: {isa:?}");
        }
    }
}

/// Rows that are asked for alone, of two sequences at once, whatever else of them there is.
#[test]
fn wanted_rows_are_those_of_the_whole_pass() {
    for (name, path) in cases() {
        let (model, expected) = (open(&path, Cpu::default()), expected(&path));
        let decoder = &model.decoder;
        let (tokens, n) = (&expected.tokens, expected.tokens.len());
        let hidden = |wanted: Option<&[usize]>| {
            let (mut one, mut other) = (decoder.empty_cache(), decoder.empty_cache());
            let mut sequences = [
                Sequence { tokens, cache: &mut one, keep: true },
                Sequence { tokens: &tokens[2..], cache: &mut other, keep: false },
            ];
            let mut taps = Taps::none(decoder.kernels());
            let rows = match wanted {
                Some(wanted) => decoder.forward_rows(&mut sequences, wanted, &mut taps).unwrap(),
                None => decoder.forward_all(&mut sequences, &mut taps).unwrap(),
            };
            // What is kept is whole: a next token sees all of it.
            let mut next = [Sequence { tokens: &tokens[..1], cache: &mut one, keep: false }];
            let next = decoder.forward_all(&mut next, &mut Taps::none(decoder.kernels())).unwrap();
            [rows, next].map(|rows| decoder.kernels().host(&rows).unwrap())
        };
        let [all, next] = hidden(None);
        let width = all.shape[1];
        for wanted in [vec![0], vec![n - 1, n, 2 * n - 3], (1..2 * n - 2).step_by(3).collect()] {
            let [rows, again] = hidden(Some(&wanted));
            let own: Vec<f32> = wanted.iter().flat_map(|&row| all.values[row * width..][..width].to_vec()).collect();
            assert_eq!((rows.shape, bits(&rows.values)), (vec![wanted.len(), width], bits(&own)), "{name}: {wanted:?}");
            assert_eq!(bits(&again.values), bits(&next.values), "{name}: {wanted:?}");
        }
    }
}
