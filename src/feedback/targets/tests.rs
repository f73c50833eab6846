//! Choices; the worlds have a file of their own.

use super::*;

fn token(truth: u32, slopes: &[(u32, f64)]) -> TokenSlopes {
    let candidates = slopes.iter().map(|&(id, slope)| Candidate { id, slope, halves: None }).collect();
    TokenSlopes { truth, candidates }
}

#[test]
fn the_lowest_slope_gets_everything_unless_it_is_the_truth() {
    let tokens = [token(3, &[(3, 1.0), (7, -2.0), (9, 0.5)]), token(4, &[(4, -1.0), (1, 0.0)]), token(2, &[(2, 5.0)])];
    let design = design(&tokens, 0.25).unwrap();
    assert_eq!(design.targets[0].entries(), [(3, 0.75), (7, 0.25)]);
    assert_eq!(design.targets[1..], [SoftTarget::one_hot(4), SoftTarget::one_hot(2)]);
    assert_eq!(design.gain, Gain { best: 0.25 * 3.0 / 3.0, crossed: None, shifted: 1, tokens: 3 });
    // Equal slopes: the truth, then the lower id.
    let tied = super::design(&[token(5, &[(9, 0.0), (5, 0.0), (8, -1.0), (6, -1.0)])], 0.5).unwrap();
    assert_eq!(tied.targets[0].entries(), [(5, 0.5), (6, 0.5)]);
    let tied = super::design(&[token(5, &[(2, 0.0), (5, 0.0)])], 0.5).unwrap();
    assert_eq!(tied.targets[0], SoftTarget::one_hot(5));
}

#[test]
fn gains_of_batches_add_up() {
    let halved = |truth, slopes: &[(u32, f64)]| {
        let mut token = token(truth, slopes);
        token.candidates.iter_mut().for_each(|own| own.halves = Some([own.slope + 0.5, 0.5 - own.slope]));
        token
    };
    let tokens = [halved(3, &[(3, 1.0), (7, -2.0)]), halved(4, &[(4, 5.0), (1, 0.0)]), halved(2, &[(2, 5.0)])];
    let gain = |tokens: &[TokenSlopes]| design(tokens, 0.25).unwrap().gain;
    let (whole, joined) = (gain(&tokens), gain(&tokens[..1]).and(gain(&tokens[1..])));
    assert!((whole.best - joined.best).abs() < 1e-15, "{whole:?} {joined:?}");
    assert!((whole.crossed.unwrap() - joined.crossed.unwrap()).abs() < 1e-15 && whole.crossed != Some(0.0));
    assert_eq!((whole.shifted, whole.tokens), (joined.shifted, joined.tokens));
}

#[test]
fn candidates_are_the_truth_and_the_likeliest() {
    let logits = [0.0, 3.0, 1.0, 3.0, -1.0];
    assert_eq!(candidates(&logits, 4, 3).unwrap(), [4, 1, 3]);
    assert_eq!(candidates(&logits, 1, 1).unwrap(), [1]);
    assert_eq!(candidates(&logits, 1, 99).unwrap(), [1, 3, 2, 0, 4]);
    for (logits, truth, k) in [(&logits[..], 5, 2), (&logits[..], 0, 0), (&[f32::NAN][..], 0, 1)] {
        assert!(candidates(logits, truth, k).unwrap_err().to_string().starts_with("expected logits that are numbers"));
    }
}

/// With alpha = 0 the loss and its gradient are those of the ordinary target, to the bit.
#[test]
fn alpha_zero_is_the_ordinary_loss() {
    let logits = [0.3f32, -1.7, 2.9, 0.01, 1.0];
    let design = design(&[token(1, &[(1, 4.0), (2, -3.0)])], 0.0).unwrap();
    assert_eq!((design.gain.best, design.gain.shifted), (0.0, 0));
    let mixed = SoftTarget::mixed(1, 0.0, &[(2, 0.5), (3, 0.5)]).unwrap();
    let greatest = f64::from(logits[2]);
    let sum: f64 = logits.iter().map(|&z| (f64::from(z) - greatest).exp()).sum();
    let ordinary = greatest + sum.ln() - f64::from(logits[1]);
    for target in [&design.targets[0], &mixed] {
        assert_eq!(target.loss(&logits).unwrap().to_bits(), ordinary.to_bits());
        let plain = SoftTarget::one_hot(1).logit_gradient(&logits).unwrap();
        assert_eq!(target.logit_gradient(&logits).unwrap(), plain);
    }
    let all = SoftTarget::mixed(1, 0.4, &[(1, 1.0)]).unwrap();
    assert_eq!(all, SoftTarget::one_hot(1), "a shift to the truth is none");
}

#[test]
fn bad_batches_are_refused() {
    let text = |tokens: &[TokenSlopes], alpha: f64| design(tokens, alpha).unwrap_err().to_string();
    assert_eq!(
        text(&[token(0, &[(1, 0.0)])], 0.5),
        "token 0: expected the true token 0 among the candidates, found none"
    );
    assert_eq!(text(&[token(0, &[(0, f64::NAN)])], 0.5), "token 0: expected finite slopes, found NaN");
    assert!(text(&[token(0, &[(0, 0.0), (0, 0.0)])], 0.5).contains("token 0 twice"));
    assert!(text(&[token(0, &[(0, 0.0)])], f64::NAN).contains("found NaN"));
    assert!(text(&[], 0.5).contains("at least one token"));
}
