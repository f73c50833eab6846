//! Seconds of a step of training: gradient of a batch, clipping, AdamW; by how many sequences go through the model at
//! once. One line of JSON each, for `benches/peers/train.py`.
//!
//! $ train_speed LAYERS WIDTH HEADS MLP VOCAB SEQUENCES LENGTH THREADS READINGS AT_ONCE..

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use veval::ckpt::Config;
use veval::kernels::cpu::{Cpu, Isa};
use veval::lab::train::{AdamW, Clip, Lesson, Moments, Shape, Updated, batch_gradient, decays};
use veval::model::Blueprint;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let [layers, width, heads, mlp, vocab, sequences, length, threads, readings, at_once @ ..] = &numbers[..] else {
        panic!("expected nine numbers and more, found {}", numbers.len());
    };
    let shape = Shape {
        layers: *layers,
        width: *width,
        heads: *heads,
        kv_heads: *heads,
        mlp: *mlp,
        context: *length,
        init_std: 0.02,
    };
    let config = Config { path: PathBuf::from("config.json"), values: shape.config(*vocab, 0, "float32") };
    let blueprint = Blueprint::of(&config).expect("a configuration");
    let kernels = Cpu::new(Isa::best(), *threads);
    let tokens: Vec<Vec<u32>> = (0..*sequences)
        .map(|row| (0..=*length).map(|column| ((row * 31 + column * 17 + column * column) % vocab) as u32).collect())
        .collect();
    let batch: Vec<Lesson<'_>> = tokens.iter().map(|tokens| Lesson::plain(tokens)).collect();
    for at_once in at_once {
        let shapes = blueprint.parameters();
        let mut weights = shape.first_weights(&shapes, 7);
        let mut moments: Vec<Moments> = shapes.values().map(|shape| Moments::zero(shape.iter().product())).collect();
        let mut check = 0.0;
        let mut step = |number: u64| {
            let start = Instant::now();
            let found = batch_gradient(&blueprint, &kernels, &weights, &batch, *at_once).expect("gradients");
            let mut gradient = found.gradient;
            let mut named: Vec<_> =
                gradient.iter_mut().map(|(name, values)| (name.as_str(), &mut values[..])).collect();
            Clip::new(1.0).and_then(|clip| clip.apply(&mut named)).expect("finite gradients");
            let each = weights.iter_mut().zip(gradient.values()).zip(&mut moments);
            let mut updated: Vec<Updated<'_>> = each
                .map(|(((name, values), gradient), moments)| Updated {
                    name,
                    values,
                    gradient,
                    moments,
                    decays: decays(&shapes[name]),
                })
                .collect();
            AdamW::default().update(number, 1e-3, &mut updated, *threads).expect("an update");
            check = found.losses.iter().sum::<f64>() / (sequences * length) as f64;
            start.elapsed().as_secs_f64()
        };
        let seconds: Vec<f64> = (1..=*readings as u64).map(&mut step).collect();
        println!("{}", json!({"at_once": at_once, "seconds": seconds, "tokens": sequences * length, "loss": check}));
    }
}
