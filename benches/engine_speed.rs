//! Times the engine by itself and prints one JSON object per line; `benches/peers/speed.py` runs it in turn with peers.
//!
//! ```console
//! $ cargo run --release --example engine_speed -- prefill CKPT [--tokens 512] [--rounds 5] [--threads 2]
//! $ cargo run --release --example engine_speed -- decode CKPT [--sequences 16] [--prompt 128] [--steps 64]
//! $ cargo run --release --example engine_speed -- matmul [--dtype f32] [--rounds 7]
//! $ cargo run --release --example engine_speed -- load CKPT
//! ```

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use veval::ckpt::Dtype;
use veval::kernels::Kernels;
use veval::kernels::cpu::{Cpu, Isa, Packed, Pool, Product, Rows, Stored, matmul};
use veval::model::{Decoder, LoadOptions, Sequence, Taps, load};

/// Inner and outer dimension of the matrices of common small models.
const SHAPES: [(usize, usize); 6] = [(576, 576), (576, 1536), (1536, 576), (768, 3072), (2048, 5632), (576, 49_152)];
/// Weights go round through this many bytes, so that they come from beyond the caches as in a model.
const ROTATION: usize = 400 << 20;

struct Options {
    folder: Option<PathBuf>,
    values: Vec<(String, String)>,
}

impl Options {
    fn number(&self, name: &str, default: usize) -> usize {
        self.values.iter().find(|(key, _)| key == name).map_or(default, |(_, value)| value.parse().expect("a number"))
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.values.iter().find(|(key, _)| key == name).map_or(default, |(_, value)| value)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let mut options = Options { folder: None, values: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(name) => options.values.push((name.to_owned(), arguments.next().expect("a value"))),
            None => options.folder = Some(argument.into()),
        }
    }
    match what.as_str() {
        "prefill" => prefill(&options),
        "decode" => decode(&options),
        "matmul" => time_matmul(&options),
        "load" => time_load(&options),
        other => panic!("expected prefill, decode, matmul or load, found {other:?}"),
    }
}

fn open(options: &Options) -> Decoder<Cpu> {
    let folder = options.folder.as_ref().expect("a checkpoint folder");
    let cpu = Cpu::new(isa(options), options.number("threads", 2));
    load(folder, cpu, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}")).decoder
}

fn isa(options: &Options) -> Isa {
    Isa::named(options.text("isa", Isa::best().name())).expect("an instruction set of this machine")
}

/// Some token ids, the same every time.
fn tokens(count: usize, vocab: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729 + 13) % vocab) as u32).collect()
}

fn timed(rounds: usize, mut f: impl FnMut()) -> Vec<f64> {
    f();
    let one = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(one).collect()
}

fn prefill(options: &Options) {
    let decoder = open(options);
    let count = options.number("tokens", 512);
    let rounds = options.number("rounds", 5);
    let input = tokens(count, decoder.spec().vocab, 0);
    let targets: Vec<(usize, u32)> = input[1..].iter().copied().enumerate().collect();
    let run = || {
        let mut cache = decoder.empty_cache();
        let mut sequence = [Sequence { tokens: &input, cache: &mut cache, keep: true }];
        decoder.forward_all(&mut sequence, &mut Taps::none(decoder.kernels())).expect("a forward pass")
    };
    let without = timed(rounds, || drop(black_box(run())));
    println!("{}", json!({ "what": "prefill", "tokens": count, "logits": "none", "seconds": without }));
    let all = timed(rounds, || drop(black_box(decoder.score(&run(), &targets).expect("scores"))));
    println!("{}", json!({ "what": "prefill", "tokens": count, "logits": "all", "seconds": all }));
}

fn decode(options: &Options) {
    let decoder = open(options);
    let (sequences, prompt) = (options.number("sequences", 16), options.number("prompt", 128));
    let (steps, rounds) = (options.number("steps", 64), options.number("rounds", 3));
    let vocab = decoder.spec().vocab;
    let prompts: Vec<Vec<u32>> = (0..sequences).map(|i| tokens(prompt, vocab, i)).collect();
    let mut seconds = Vec::new();
    for _ in 0..=rounds {
        let mut caches: Vec<_> = prompts.iter().map(|_| decoder.empty_cache()).collect();
        let mut last: Vec<[u32; 1]> = Vec::new();
        for (prompt, cache) in prompts.iter().zip(&mut caches) {
            let mut sequence = [Sequence { tokens: prompt, cache, keep: true }];
            decoder.forward_all(&mut sequence, &mut Taps::none(decoder.kernels())).expect("a forward pass");
            decoder.reserve(cache, steps).expect("room");
            last.push([prompt[0]]);
        }
        let start = Instant::now();
        for _ in 0..steps {
            let mut batch: Vec<Sequence<'_, Cpu>> = last
                .iter()
                .zip(&mut caches)
                .map(|(tokens, cache)| Sequence { tokens: &tokens[..], cache, keep: true })
                .collect();
            let hidden = decoder.forward_all(&mut batch, &mut Taps::none(decoder.kernels())).expect("a forward pass");
            let rows: Vec<usize> = (0..sequences).collect();
            let logits = decoder.logits(&hidden, &rows).expect("logits");
            let best = decoder.kernels().logit_rows(&logits).expect("sums");
            last = best.iter().map(|row| [row.best as u32]).collect();
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.remove(0);
    let line = json!({
        "what": "decode", "sequences": sequences, "prompt": prompt, "steps": steps, "seconds": seconds,
    });
    println!("{line}");
}

fn time_matmul(options: &Options) {
    let (isa, threads, rounds) = (isa(options), options.number("threads", 2), options.number("rounds", 7));
    let dtype = match options.text("dtype", "f32") {
        "bf16" => Dtype::Bf16,
        "f16" => Dtype::F16,
        _ => Dtype::F32,
    };
    let pool = Pool::new(threads);
    for (k, n) in SHAPES {
        let bytes = vec![0u8; n * k * dtype.bytes()];
        let copies = (ROTATION / bytes.len()).max(2);
        let stored = Stored { bytes: &bytes, dtype, row_step: k, k_step: 1 };
        let weights: Vec<Packed> = (0..copies).map(|_| Packed::pack(&pool, n, k, |row| row, stored)).collect();
        for m in [1, 8, 16, 64, 256, 1024] {
            let x = vec![0.5f32; m * (k + 16)];
            let mut y = vec![0f32; m * n];
            let repeats = (400_000_000 / (2 * m * n * k)).clamp(1, copies);
            let mut next = 0;
            let seconds = timed(rounds, || {
                for _ in 0..repeats {
                    next = (next + 1) % copies;
                    let rows = Rows { values: &x, ld: k + 16, count: m };
                    matmul(&pool, isa, rows, &mut [Product { w: &weights[next], y: &mut y }]);
                }
            });
            let flops = 2.0 * (m * n * k * repeats) as f64;
            let rates: Vec<f64> = seconds.iter().map(|s| flops / s / 1e9).collect();
            let line = json!({
                "what": "matmul", "k": k, "n": n, "m": m, "dtype": dtype.name(), "isa": isa.name(), "gflops": rates,
            });
            println!("{line}");
        }
    }
}

fn time_load(options: &Options) {
    let seconds = timed(options.number("rounds", 3), || drop(black_box(open(options))));
    println!("{}", json!({ "what": "load", "seconds": seconds }));
}
