//! Times the engine by itself and prints one JSON object a line; `benches/peers/speed.py`, which starts it in turn with
//! peers, says what is asked and answered.
//!
//! ```console
//! $ engine_speed prefill --model CKPT --threads 2 --tokens 512,2048 --readings 5
//! $ engine_speed decode --model CKPT --threads 2 --sequences 16 --context 128 --new 32 --readings 5
//! $ engine_speed matmul --threads 2 --rows 1,16 --shapes 576x1536 --rotate-mb 400 --flop 20000000000 --readings 7
//! $ engine_speed reverse --model CKPT --threads 2 --tokens 256 --readings 5
//! $ engine_speed per-item --model CKPT --threads 2 --items 16 --tokens 256 --dim 16 --batch-tokens 512 --readings 1
//! $ engine_speed values --model CKPT --threads 2 --items 32 --tokens 64 --targets 2 --parts 4 --readings 5
//! $ engine_speed load --model CKPT --readings 3
//! ```
//! Besides: `--isa avx2`, and `--dtype bf16`, `f16`, `q8_0` or `q4_k` for products.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use veval::ckpt::Dtype;
use veval::feedback::{Collect, Compared, Gathered, Parameters, Projection, Projector, Scale, Signs, Target, collect};
use veval::kernels::cpu::{Cpu, Isa, Packed, Pool, Product, Rows, Stored, matmul};
use veval::kernels::tape::{Nothing, Tape};
use veval::kernels::{Kernels, Reverse};
use veval::model::{Decoder, LoadOptions, Loss, Objective, Reach, Sequence, Summed, Taps, WeightGradients, load};
use veval::request::{GradSpan, Site};

struct Options(BTreeMap<String, String>);

impl Options {
    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    fn list(&self, name: &str, default: &str) -> Vec<usize> {
        self.text(name, default).split(',').map(|number| number.parse().expect("a number")).collect()
    }

    fn number(&self, name: &str, default: &str) -> usize {
        self.list(name, default)[0]
    }

    fn isa(&self) -> Isa {
        Isa::named(self.text("isa", Isa::best().name())).expect("an instruction set of this machine")
    }

    fn cpu(&self) -> Cpu {
        Cpu::new(self.isa(), self.number("threads", "2"))
    }

    fn decoder(&self) -> Decoder<Cpu> {
        self.decoder_over(self.cpu())
    }

    fn recording_decoder(&self) -> Decoder<Tape<Cpu>> {
        self.decoder_over(Tape::new(self.cpu()))
    }

    fn decoder_over<K: Kernels>(&self, kernels: K) -> Decoder<K> {
        let loaded = load(Path::new(self.text("model", ".")), kernels, LoadOptions::default());
        loaded.unwrap_or_else(|error| panic!("{error}")).decoder
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let mut options = Options(BTreeMap::new());
    while let Some(argument) = arguments.next() {
        let name = argument.strip_prefix("--").expect("an option");
        options.0.insert(name.to_owned(), arguments.next().expect("a value"));
    }
    match what.as_str() {
        "prefill" => prefill(&options),
        "decode" => decode(&options),
        "matmul" => time_matmul(&options),
        "reverse" => reverse(&options),
        "per-item" => per_item(&options),
        "values" => values(&options),
        "load" => time_load(&options),
        other => panic!("expected prefill, decode, matmul, reverse, per-item or load, found {other:?}"),
    }
}

/// The token that stands at a position of a sequence.
fn token(position: usize, sequence: usize) -> u32 {
    ((7919 * position + 101 * sequence + 13) % 50_000) as u32
}

fn tokens(sequence: usize, count: usize) -> Vec<u32> {
    (0..count).map(|position| token(position, sequence)).collect()
}

/// Seconds of each reading, after one to warm up.
fn timed(readings: usize, mut f: impl FnMut()) -> Vec<f64> {
    f();
    let one = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..readings).map(one).collect()
}

fn prefill(options: &Options) {
    let decoder = options.decoder();
    let readings = options.number("readings", "5");
    for count in options.list("tokens", "512") {
        let input = tokens(0, count);
        let targets: Vec<(usize, u32)> = input[1..].iter().copied().enumerate().collect();
        let run = || {
            let mut cache = decoder.empty_cache();
            let mut sequence = [Sequence { tokens: &input, cache: &mut cache, keep: true }];
            decoder.forward_all(&mut sequence, &mut Taps::none(decoder.kernels())).expect("a forward pass")
        };
        let last = timed(readings, || {
            black_box(decoder.logits(&run(), &[count - 1]).expect("logits"));
        });
        println!("{}", json!({ "what": "prefill", "tokens": count, "logits": "last", "seconds": last }));
        let mut check = 0.0;
        let all = timed(readings, || {
            let scored = decoder.score(&run(), &targets).expect("scores");
            check = scored.iter().map(|token| f64::from(token.log_prob)).sum();
        });
        println!("{}", json!({ "what": "prefill", "tokens": count, "logits": "all", "seconds": all, "check": check }));
    }
}

/// Forward and reverse of a text with every token but the first as a target: gradients of all weights, and of nothing
/// but the embedded tokens.
fn reverse(options: &Options) {
    let decoder = options.recording_decoder();
    let readings = options.number("readings", "5");
    for count in options.list("tokens", "256") {
        let text = tokens(0, count);
        let loss = Loss::Nll { span: GradSpan { start: 1, end: count }, mean: false };
        let item = [Objective { tokens: &text, loss }];
        let reach = Reach { memory: usize::MAX, ..Reach::default() };
        let _keeping = decoder.kernels().inner().keeping(reach.memory);
        let mut check = 0.0;
        let seconds = timed(readings, || {
            let mut weights = WeightGradients::new(&decoder, |_| true, Summed::Pass);
            check = decoder.reverse(&item, reach, &mut weights).expect("gradients").losses[0];
            black_box(&mut weights);
        });
        println!(
            "{}",
            json!({ "what": "reverse", "tokens": count, "of": "weights", "seconds": seconds, "check": check })
        );
        let reach = Reach { sites: &[Site::Embed], ..reach };
        let seconds = timed(readings, || {
            black_box(decoder.reverse(&item, reach, &mut Nothing).expect("gradients"));
        });
        println!("{}", json!({ "what": "reverse", "tokens": count, "of": "inputs", "seconds": seconds }));
    }
}

/// Projected gradients of items as `veval grad collect` makes them, of every token but the first as a target.
fn per_item(options: &Options) {
    let decoder = options.recording_decoder();
    let projection = Projection::per_module(options.number("dim", "16"), Scale::Jl, Signs::Philox);
    let projector = Projector::new(&decoder, |_| true, projection).expect("linear maps");
    let (items, count) = (options.number("items", "16"), options.number("tokens", "256"));
    let target = |item: usize| Target { id: item.to_string(), tokens: tokens(item, count), start: 1 };
    let targets: Vec<Target> = (0..items).map(target).collect();
    let batch_tokens = options.number("batch-tokens", "512");
    let how = Collect { mean: false, batch_tokens, memory: options.number("memory-mb", "4096") << 20 };
    let (mut loss, mut squares) = (0.0, 0.0);
    let seconds = timed(options.number("readings", "1"), || {
        (loss, squares) = (0.0, 0.0);
        let mut add = |rows: &Gathered<'_>| {
            loss += rows.losses.iter().sum::<f64>();
            squares += rows.values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            Ok(())
        };
        collect(&projector, &targets, 0, how, &mut add).expect("gradients");
    });
    let line = json!({
        "what": "per-item", "items": items, "tokens": count, "modules": projector.modules().len(), "seconds": seconds,
        "check": loss, "squares": squares,
    });
    println!("{line}");
}

/// Values of documents along the parts of some targets, and whole gradients of the same batches, in turn.
fn values(options: &Options) {
    let decoder = options.recording_decoder();
    let (items, count) = (options.number("items", "32"), options.number("tokens", "64"));
    let (targets, parts) = (options.number("targets", "2"), options.number("parts", "4"));
    let own = |item: usize| Target { id: item.to_string(), tokens: tokens(item, count), start: 1 };
    let documents: Vec<Target> = (0..items).map(own).collect();
    let (batch_tokens, memory) = (options.number("batch-tokens", "512"), options.number("memory-mb", "8192") << 20);
    let wanted: BTreeSet<String> =
        options.text("params", "all").parse::<Parameters>().expect("parameters").of(decoder.leaves()).expect("names");
    let gradient = |batch: &[Objective<'_>]| {
        let mut sums = WeightGradients::new(&decoder, |name| wanted.contains(name), Summed::Pass);
        decoder.reverse(batch, Reach { memory, ..Reach::default() }, &mut sums).expect("a reverse pass");
        sums.into_parameters().expect("gradients")
    };
    let objectives: Vec<Objective<'_>> = documents
        .iter()
        .map(|document| Objective {
            tokens: &document.tokens,
            loss: Loss::Nll { span: GradSpan { start: 1, end: count }, mean: true },
        })
        .collect();
    let part = |number: usize| gradient(&objectives[number % items..][..1]);
    let of: Vec<Vec<_>> = (0..targets).map(|target| (0..parts).map(|k| part(target * parts + k)).collect()).collect();
    let compared = Compared::new(&decoder, &of, None).expect("directions");
    let how = Collect { mean: true, batch_tokens, memory };
    let at_once = (batch_tokens / count).max(1);
    let (mut whole, mut along, mut check) = (Vec::new(), Vec::new(), 0.0);
    for reading in 0..=options.number("readings", "5") {
        let start = Instant::now();
        objectives.chunks(at_once).for_each(|batch| {
            black_box(gradient(batch));
        });
        let middle = Instant::now();
        check = 0.0;
        let mut add = |batch: Vec<(f64, _)>| {
            check += batch.iter().map(|(loss, _)| loss).sum::<f64>();
            Ok(())
        };
        compared.documents(&documents, how, &mut add).expect("values");
        if reading > 0 {
            whole.push((middle - start).as_secs_f64());
            along.push(middle.elapsed().as_secs_f64());
        }
    }
    let line = json!({
        "what": "values", "items": items, "tokens": count, "directions": targets * parts, "whole gradients": whole,
        "values": along, "check": check,
    });
    println!("{line}");
}

fn decode(options: &Options) {
    let decoder = options.decoder();
    let (sequences, context) = (options.number("sequences", "16"), options.number("context", "128"));
    let (new, readings) = (options.number("new", "32"), options.number("readings", "5"));
    let (mut seconds, mut check) = (Vec::new(), 0.0);
    for reading in 0..=readings {
        let mut caches: Vec<_> = (0..sequences).map(|_| decoder.empty_cache()).collect();
        for (index, cache) in caches.iter_mut().enumerate() {
            let mut sequence = [Sequence { tokens: &tokens(index, context), cache, keep: true }];
            decoder.forward_all(&mut sequence, &mut Taps::none(decoder.kernels())).expect("a forward pass");
            decoder.reserve(cache, new).expect("room");
        }
        let start = Instant::now();
        for position in context..context + new {
            let inputs: Vec<[u32; 1]> = (0..sequences).map(|index| [token(position, index)]).collect();
            let sequence = |(tokens, cache)| Sequence { tokens, cache, keep: true };
            let mut batch: Vec<Sequence<'_, Cpu>> =
                inputs.iter().map(|tokens| &tokens[..]).zip(&mut caches).map(sequence).collect();
            let hidden = decoder.forward_all(&mut batch, &mut Taps::none(decoder.kernels())).expect("a forward pass");
            let targets: Vec<(usize, u32)> = (0..sequences).map(|index| (index, token(position + 1, index))).collect();
            let scored = decoder.score(&hidden, &targets).expect("scores");
            check = scored.iter().map(|token| f64::from(token.log_prob)).sum();
        }
        if reading > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let line = json!({
        "what": "decode", "sequences": sequences, "context": context, "new": new, "seconds": seconds, "check": check,
    });
    println!("{line}");
}

fn time_matmul(options: &Options) {
    let (isa, pool) = (options.isa(), Pool::new(options.number("threads", "2")));
    let (readings, rotation) = (options.number("readings", "7"), options.number("rotate-mb", "400") << 20);
    let flop = options.number("flop", "20000000000");
    let dtype = match options.text("dtype", "f32") {
        "bf16" => Dtype::Bf16,
        "q8_0" => Dtype::Q8_0,
        "q4_k" => Dtype::Q4K,
        "f16" => Dtype::F16,
        _ => Dtype::F32,
    };
    for shape in options.text("shapes", "576x1536").split(',') {
        let (k, n) = shape.split_once('x').expect("a shape, KxN");
        let (k, n): (usize, usize) = (k.parse().expect("a number"), n.parse().expect("a number"));
        let bytes = vec![0u8; dtype.size(n * k)];
        let copies = rotation.div_ceil(4 * n * k).max(1);
        let stored = Stored { bytes: &bytes, dtype, row_step: k, k_step: 1 };
        let weights: Vec<Packed> = (0..copies).map(|_| Packed::pack(&pool, n, k, |row| row, stored)).collect();
        for m in options.list("rows", "1,16,64,256,1024") {
            let x = vec![0.5f32; m * k];
            // At a border of two cache lines, as the engine's arrays are.
            let mut room = vec![0f32; m * n + 32];
            let first = room.as_ptr().align_offset(128);
            let y = &mut room[first..first + m * n];
            let calls = (flop / (2 * m * n * k)).clamp(1, 4 * copies);
            let mut next = 0;
            let seconds = timed(readings, || {
                for _ in 0..calls {
                    next = (next + 1) % copies;
                    let rows = Rows { values: &x, ld: k, count: m };
                    matmul(&pool, isa, rows, &mut [Product { w: &weights[next], y: &mut *y }]);
                }
            });
            println!("{}", json!({ "what": "matmul", "m": m, "k": k, "n": n, "calls": calls, "seconds": seconds }));
        }
    }
}

fn time_load(options: &Options) {
    let seconds = timed(options.number("readings", "3"), || drop(black_box(options.decoder())));
    println!("{}", json!({ "what": "load", "seconds": seconds }));
}
