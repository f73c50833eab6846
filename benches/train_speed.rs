//! Seconds of a step of training: gradients of a batch at fresh weights, by sequences that go through the model at once.
//! One line of JSON each, for `benches/peers/speed.py train`.
//!
//! $ train_speed LAYERS WIDTH HEADS MLP VOCAB SEQUENCES LENGTH THREADS READINGS AT_ONCE..

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use veval::ckpt::Config;
use veval::kernels::cpu::{Cpu, Isa};
use veval::lab::train::{Shape, batch_gradient};
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
    let weights = shape.first_weights(&blueprint.parameters(), 7);
    let tokens: Vec<Vec<u32>> = (0..*sequences)
        .map(|row| (0..=*length).map(|column| ((row * 31 + column * 17 + column * column) % vocab) as u32).collect())
        .collect();
    let batch: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    for at_once in at_once {
        let mut seconds: Vec<f64> = (0..*readings)
            .map(|_| {
                let start = Instant::now();
                let found = batch_gradient(&blueprint, &kernels, &weights, &batch, *at_once).expect("gradients");
                assert!(found.losses.iter().all(|loss| loss.is_finite()));
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!(
            "{}",
            json!({"what": "train", "at_once": at_once, "seconds": median, "tokens_per_second": (sequences * length) as f64 / median})
        );
    }
}
