//! Sums over items, one at a time, and what becomes of them.

use std::collections::BTreeMap;

use super::products::{cosine, cosine_of, dot, dot_values};
use super::{Evidence, Gradients};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::moments::Moments;
use crate::feedback::precondition::{Rule, precondition};
use crate::request::SiteValues;
use crate::util::hash::seed_from;

/// Adds items up. It keeps two numbers for each of the parameters (three with Fisher), in f32, whose relative error
/// after n items is about `sqrt(n) * 6e-8`. Sums depend on the order of items in their last bits.
#[derive(Debug)]
pub struct GradSetBuilder {
    halves: [Half; 2],
    squares: Option<Gradients>,
    norms: Vec<f64>,
}

#[derive(Debug)]
struct Half {
    items: u64,
    sums: Gradients,
}

impl GradSetBuilder {
    /// `parameters`: names and shapes that every item has. `fisher`: sum squares as well.
    pub fn new(parameters: &BTreeMap<String, Vec<usize>>, fisher: bool) -> Self {
        let zeros = || -> Gradients {
            let zero =
                |shape: &Vec<usize>| SiteValues { shape: shape.clone(), values: vec![0.0; shape.iter().product()] };
            parameters.iter().map(|(name, shape)| (name.clone(), zero(shape))).collect()
        };
        let half = || Half { items: 0, sums: zeros() };
        Self { halves: [half(), half()], squares: fisher.then(zeros), norms: Vec::new() }
    }

    /// Adds the gradients of one item. Its identity decides, by hash, to which half it belongs.
    ///
    /// # Errors
    /// Every parameter that is missing, unknown, of another shape or no number; nothing is added then.
    pub fn add(&mut self, item: &str, gradients: &Gradients) -> Result<()> {
        self.check(item, gradients)?;
        let half = &mut self.halves[(seed_from(&["veval.gradset half", item]) & 1) as usize];
        half.items += 1;
        for (sums, gradient) in half.sums.values_mut().zip(gradients.values()) {
            sums.values.iter_mut().zip(&gradient.values).for_each(|(sum, value)| *sum += value);
        }
        for (sums, gradient) in self.squares.iter_mut().flat_map(BTreeMap::values_mut).zip(gradients.values()) {
            sums.values.iter_mut().zip(&gradient.values).for_each(|(sum, value)| *sum += value * value);
        }
        self.norms.push(dot(gradients, gradients).sqrt());
        Ok(())
    }

    fn check(&self, item: &str, gradients: &Gradients) -> Result<()> {
        let known = &self.halves[0].sums;
        let mut problems = Vec::new();
        let mut problem = |name: &str, message: String| {
            problems.push(Diagnostic::new(message).at(format!("item {item}, parameter {name}")));
        };
        for (name, wanted) in known {
            let Some(found) = gradients.get(name) else {
                problem(name, "expected a gradient of the parameter, found none".to_owned());
                continue;
            };
            if found.shape != wanted.shape || found.values.len() != wanted.values.len() {
                problem(name, format!("expected a gradient of the shape {:?}, found {:?}", wanted.shape, found.shape));
            } else if let Some(value) = found.values.iter().find(|value| !value.is_finite()) {
                problem(name, format!("expected a finite gradient, found {value}"));
            }
        }
        for name in gradients.keys().filter(|name| !known.contains_key(*name)) {
            problem(name, "expected gradients of the parameters that were named, found another".to_owned());
        }
        Error::check(problems)
    }

    /// # Errors
    /// No items; sums beyond f32.
    pub fn finish(self) -> Result<Collected> {
        if self.norms.is_empty() {
            return Err(Error::bad("expected gradients of at least one item, found none"));
        }
        let sums = self.halves.iter().map(|half| &half.sums).chain(&self.squares);
        let over = sums.flatten().filter(|(_, sums)| !sums.values.iter().all(|sum| sum.is_finite()));
        let message = "expected sums within float32, found larger ones";
        let problems = over.map(|(name, _)| Diagnostic::new(message).at(format!("parameter {name}")));
        Error::check(problems.collect())?;
        Ok(Collected(self))
    }
}

/// All items, of which there is at least one.
#[derive(Debug)]
pub struct Collected(GradSetBuilder);

impl Collected {
    pub fn items(&self) -> u64 {
        self.0.norms.len() as u64
    }

    /// Of the mean gradient.
    pub fn evidence(&self) -> Evidence {
        let [one, other] = &self.0.halves;
        Evidence::of(&self.0.norms, cosine(&one.sums, &other.sums))
    }

    /// Mean gradient of the items.
    pub fn mean(&self) -> Gradients {
        let [one, other] = &self.0.halves;
        one.sums
            .iter()
            .zip(other.sums.values())
            .map(|((name, one), other)| (name.clone(), self.joined(one, other)))
            .collect()
    }

    fn joined(&self, one: &SiteValues, other: &SiteValues) -> SiteValues {
        let items = self.items() as f64;
        let mean = |(a, b): (&f32, &f32)| ((f64::from(*a) + f64::from(*b)) / items) as f32;
        SiteValues { shape: one.shape.clone(), values: one.values.iter().zip(&other.values).map(mean).collect() }
    }

    /// Mean of squared gradients, where they were summed.
    pub fn fisher(&self) -> Option<Gradients> {
        let items = self.items() as f64;
        let mean = |sums: &SiteValues| SiteValues {
            shape: sums.shape.clone(),
            values: sums.values.iter().map(|&sum| (f64::from(sum) / items) as f32).collect(),
        };
        self.0.squares.as_ref().map(|squares| squares.iter().map(|(name, sums)| (name.clone(), mean(sums))).collect())
    }

    /// The mean gradient as an optimizer's state makes an update of it. The evidence is that of both halves' updates.
    ///
    /// # Errors
    /// Every parameter whose moments are missing, of another shape, or none.
    pub fn preconditioned(&self, moments: &Moments, rule: Rule) -> Result<(Gradients, Evidence)> {
        let [one, other] = &self.0.halves;
        let mut problems = Vec::new();
        let mut scaled = Gradients::new();
        let mut products = [0.0; 3];
        for ((name, first), second) in one.sums.iter().zip(other.sums.values()) {
            let mut mean = self.joined(first, second);
            // Means, as not every rule is linear.
            let (mut a, mut b) = (half_mean(first, one.items), half_mean(second, other.items));
            let attempt = moments.read(name).and_then(|moments| {
                [&mut mean.values, &mut a, &mut b].into_iter().try_for_each(|x| precondition(x, &moments, rule))
            });
            match attempt {
                Ok(()) => {
                    let add = |sum: &mut f64, x: &[f32], y: &[f32]| *sum += dot_values(x, y);
                    add(&mut products[0], &a, &b);
                    add(&mut products[1], &a, &a);
                    add(&mut products[2], &b, &b);
                    scaled.insert(name.clone(), mean);
                }
                Err(error) => problems.extend(error.at(format!("parameter {name}")).into_diagnostics()),
            }
        }
        Error::check(problems)?;
        let both = one.items > 0 && other.items > 0;
        Ok((scaled, Evidence::of(&self.0.norms, both.then(|| cosine_of(products)).flatten())))
    }
}

fn half_mean(sums: &SiteValues, items: u64) -> Vec<f32> {
    let items = items.max(1) as f64;
    sums.values.iter().map(|&sum| (f64::from(sum) / items) as f32).collect()
}
