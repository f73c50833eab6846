//! Mixtures from values, and their files for trainers.

use crate::support::Bench;

const MIXTURE: &str = r#"{"format": "veval.mixture/1", "unit": "tokens", "total_tokens": 1000000, "sequence_length": 100,
    "sources": [
        {"name": "facts", "paths": ["facts/a.jsonl"], "available_tokens": 600000, "documents": 6000, "mean_tokens": 100, "q": 0.5},
        {"name": "noise", "paths": ["noise/a.jsonl"], "available_tokens": 900000, "documents": 3000, "mean_tokens": 300, "q": 0.5}
    ]}"#;

/// Documents of two sources: those of facts are worth more by `gap`, and all scatter by one.
fn values(gap: f64) -> String {
    let row = |number: usize| {
        let (source, worth) = if number.is_multiple_of(2) { ("facts", gap) } else { ("noise", 0.0) };
        let value = worth + (number * 37 % 101) as f64 / 50.0 - 1.0;
        format!("{{\"source\": \"{source}\", \"n_tokens\": 100, \"value\": {value}, \"value_sums\": {}}}\n", -value)
    };
    (0..400).map(row).collect()
}

/// The share of facts in a mixture.
fn share(bench: &Bench, name: &str) -> f64 {
    let file: serde_json::Value = serde_json::from_str(&bench.read(name)).unwrap();
    file["sources"][0]["q"].as_f64().unwrap()
}

#[test]
fn a_source_that_is_worth_more_gets_more_within_the_limit_and_noise_spends_a_quarter_of_it_at_most() {
    let bench = Bench::new();
    bench.write("mixture.json", MIXTURE);
    bench.write("clear.jsonl", values(2.0));
    let made = bench.veval(&["feedback", "mix", "mixture.json", "--values", "clear.jsonl", "--out", "next.json"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("binds: ") && made.out.contains("facts"), "{}", made.out);
    let q = share(&bench, "next.json");
    let divergence = q * (q / 0.5).ln() + (1.0 - q) * ((1.0 - q) / 0.5).ln();
    assert!(q > 0.6 && divergence <= 0.1 + 1e-9, "{q} {divergence}");

    // The other target wants the opposite.
    let other =
        ["feedback", "mix", "mixture.json", "--values", "clear.jsonl", "--target", "sums", "--out", "other.json"];
    assert_eq!(bench.veval(&other).code, 0);
    assert!(share(&bench, "other.json") < 0.4);

    bench.write("noise.jsonl", values(0.0));
    let made = bench.veval(&["feedback", "mix", "mixture.json", "--values", "noise.jsonl", "--out", "same.json"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let q = share(&bench, "same.json");
    let divergence = q * (q / 0.5).ln() + (1.0 - q) * ((1.0 - q) / 0.5).ln();
    assert!(divergence < 0.1 / 4.0 + 1e-3, "{q} {divergence}");

    let twice = bench.veval(&["feedback", "mix", "mixture.json", "--values", "noise.jsonl", "--out", "same.json"]);
    assert!(twice.code == 2 && twice.err.contains("free"), "{}", twice.err);
    let none = bench.veval(&[
        "feedback",
        "mix",
        "mixture.json",
        "--values",
        "clear.jsonl",
        "--target",
        "x",
        "--out",
        "none.json",
    ]);
    assert!(none.code == 2 && none.err.contains("value_x") && none.err.contains("value_sums"), "{}", none.err);
    assert!(!bench.path("none.json").exists());
}

#[test]
fn every_trainer_gets_its_files_and_says_what_it_will_draw() {
    let bench = Bench::new();
    bench.write("mixture.json", MIXTURE);
    let made = bench.veval(&["feedback", "export", "mixture.json", "--batch-sequences", "10", "--out", "exports"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let folders = std::fs::read_dir(bench.path("exports")).unwrap().count();
    assert_eq!(folders, 10, "{}", made.out);
    assert!(made.out.contains("shares of documents") && made.out.contains("off at most"), "{}", made.out);
    let unknown = ["feedback", "export", "mixture.json", "--batch-sequences", "10", "--for", "olmocore", "--out", "b"];
    let unknown = bench.veval(&unknown);
    assert!(unknown.code == 2 && unknown.err.contains("olmo-core"), "{}", unknown.err);
    assert!(!bench.path("b").exists());
}
