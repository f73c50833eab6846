//! Several targets in one aim.

use super::*;
use crate::error::Result;
use crate::feedback::Direction;
use crate::feedback::bundle::TargetNote;
use crate::request::SiteValues;

fn note(name: &str, domain: &str, parts: &[usize]) -> TargetNote {
    let (name, domain) = (name.to_owned(), domain.to_owned());
    TargetNote { name, domain, parts: parts.to_vec(), sealed_items: 1, at: Vec::new() }
}

fn direction(values: [f32; 2]) -> Direction {
    let of = |value: f32| SiteValues { shape: vec![1], values: vec![value] };
    [("a".to_owned(), of(values[0])), ("b".to_owned(), of(values[1]))].into()
}

fn values(direction: &Direction) -> [f32; 2] {
    ["a", "b"].map(|name| direction[name].values[0])
}

fn aim(targets: &[TargetNote], parts: &[Vec<[f32; 2]>]) -> Result<Aim> {
    Aim::of(targets, &mut |number| Ok(parts[number].iter().map(|own| direction(*own)).collect()))
}

#[test]
fn a_single_target_is_its_own_gradient() {
    let found = aim(&[note("sums", "numbers", &[3, 1, 1, 3])], &[vec![[2.0, 0.0], [0.0, 4.0], [6.0, 8.0], [8.0, 0.0]]]);
    let found = found.unwrap();
    assert!(!found.is_standard);
    assert_eq!(values(&found.whole), [(6.0 + 6.0 + 24.0) / 8.0, (4.0 + 8.0) / 8.0]);
    assert_eq!(found.halves.map(|half| values(&half)), [[3.0, 2.0], [6.0, 1.0]]);
}

#[test]
fn several_targets_count_by_domain_however_long_their_gradients_are() {
    // Norms are 5, 100 and 2; the first two share a domain. Halves keep the norm of the whole.
    let targets = [note("x", "one", &[1, 1]), note("y", "one", &[2, 2]), note("z", "two", &[1, 1])];
    let parts = [vec![[3.0, 8.0], [3.0, 0.0]], vec![[100.0, 0.0]; 2], vec![[0.0, -1.0], [0.0, -3.0]]];
    let found = aim(&targets, &parts).unwrap();
    assert!(found.is_standard);
    let near =
        |own: [f32; 2], wanted: [f32; 2]| assert!((0..2).all(|at| (own[at] - wanted[at]).abs() < 1e-6), "{own:?}");
    near(values(&found.whole), [0.25 * 0.6 + 0.25, 0.25 * 0.8 - 0.5]);
    near(values(&found.halves[0]), [0.25 * 0.6 + 0.25, 0.25 * 1.6 - 0.25]);
    near(values(&found.halves[1]), [0.25 * 0.6 + 0.25, -0.75]);
}

#[test]
fn targets_without_a_gradient_are_named() {
    let targets = [note("x", "one", &[1, 1]), note("y", "one", &[1, 1])];
    let error = aim(&targets, &[vec![[1.0, 0.0], [-1.0, 0.0]], vec![[1.0, 1.0]; 2]]).unwrap_err().to_string();
    assert_eq!(error, "target x: expected a gradient of a norm above 0, found one of 0");
}
