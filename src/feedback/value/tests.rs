//! Rules by hand: signs, means, errors, percentiles, columns, files, refusals.

use super::*;

/// A target with two halves of the same size whose mean gradient has length one at each checkpoint.
pub(super) fn target(name: &str, domain: &str, checkpoints: usize) -> Target {
    Target {
        name: name.to_owned(),
        domain: domain.to_owned(),
        parts: vec![1.0, 1.0],
        grams: vec![vec![1.0; 4]; checkpoints],
    }
}

fn setup(targets: Vec<Target>, weights: &[f64], measure: Measure) -> Setup {
    let checkpoint = |(step, &weight)| Checkpoint { step, weight };
    Setup { targets, checkpoints: (1..).zip(weights).map(checkpoint).collect(), measure }
}

/// With products at one checkpoint.
pub(super) fn document(id: &str, source: &str, loss_tokens: u32, products: &[&[f64]]) -> Document {
    let at = DocumentAt { squared_norm: 4.0, products: products.iter().map(|p| p.to_vec()).collect(), step: None };
    Document {
        id: id.to_owned(),
        source: source.to_owned(),
        place: Place::default(),
        tokens: loss_tokens + 1,
        loss_tokens,
        loss: 2.0,
        loss_ref: None,
        at: vec![at],
    }
}

fn values(setup: Setup, documents: &[Document]) -> Values {
    let mut table = ValueTable::new(setup).unwrap();
    for document in documents {
        table.push(document).unwrap();
    }
    table.finish().unwrap()
}

fn near(a: f32, b: f64) {
    assert!((f64::from(a) - b).abs() <= 1e-6 * b.abs().max(1.0), "{a} is not {b}");
}

#[test]
fn one_document_by_hand() {
    let mut one = document("a", "web", 10, &[&[1.0, 0.5]]);
    one.loss_ref = Some(1.5);
    one.place = Place { shard: Some("s.jsonl".to_owned()), row: Some(7), byte_start: Some(3), ..Place::default() };
    let rows: Vec<ValueRow> =
        values(setup(vec![target("gsm8k", "math", 1)], &[1.0], Measure::Gradient), &[one.clone()]).rows().collect();
    let row = &rows[0];
    near(row.targets["value_gsm8k"], 0.75);
    near(row.targets["dot_gsm8k"], 0.75);
    near(row.targets["cosine_gsm8k"], 0.375);
    // Half the difference of the halves.
    near(row.targets["value_se_gsm8k"], 0.25);
    near(row.value, 1.0);
    near(row.value_se, 1.0 / 3.0);
    near(row.pct, 50.0);
    assert_eq!((row.self_influence, row.grad_norm), (4.0, 2.0));
    assert_eq!((row.excess, row.learnability), (Some(0.5), Some(0.25)));
    assert_eq!((row.n_tokens, row.n_loss_tokens, row.place.clone()), (11, 10, one.place));
    assert!(!row.targets.contains_key("step_gsm8k"));
}

/// A step that goes against the target's gradient lowers its loss, and is worth as much as a gradient along it.
#[test]
fn signs_are_those_of_lower_losses() {
    let mut one = document("a", "web", 10, &[&[1.0, 0.5]]);
    one.at[0].step = Some(StepAt { squared_norm: 9.0, own: -6.0, products: vec![vec![-2.0, -1.0]] });
    let row = |measure| {
        values(setup(vec![target("t", "d", 1)], &[1.0], measure), std::slice::from_ref(&one)).rows().next().unwrap()
    };
    let (gradient, step) = (row(Measure::Gradient), row(Measure::Step));
    assert_eq!((gradient.targets["value_t"], gradient.self_influence), (0.75, 4.0));
    assert_eq!((step.targets["value_t"], step.self_influence), (1.5, 6.0));
    for row in [gradient, step] {
        assert_eq!((row.targets["dot_t"], row.targets["step_t"]), (0.75, 1.5));
        assert!(row.value > 0.0);
    }
}

#[test]
fn checkpoints_are_weighted_and_their_spread_counts() {
    let mut one = document("a", "web", 10, &[&[1.0, 1.0]]);
    one.at.push(DocumentAt { squared_norm: 16.0, products: vec![vec![5.0, 5.0]], step: None });
    let row = values(setup(vec![target("t", "d", 2)], &[3.0, 1.0], Measure::Gradient), &[one]).rows().next().unwrap();
    near(row.targets["value_t"], 2.0);
    near(row.targets["cosine_t"], 0.75 * 0.5 + 0.25);
    near(row.grad_norm, 0.75 * 2.0 + 0.25 * 4.0);
    // 2 / (2 - 1) (0.75^2 (1 - 2)^2 + 0.25^2 (5 - 2)^2)
    near(row.targets["value_se_t"], (2.0f64 * (0.5625 + 0.5625)).sqrt());
}

/// Standardised by target, mean within the domain, mean over domains; zero stays zero.
#[test]
fn domains_count_the_same() {
    let targets = vec![target("a", "math", 1), target("b", "math", 1), target("c", "code", 1)];
    let same = |values: [f64; 3]| values.map(|value| [value, value]);
    let documents: Vec<Document> = [[30.0, 0.2, 0.0], [10.0, -0.6, 3.0], [0.0, 0.0, 0.0]]
        .iter()
        .enumerate()
        .map(|(number, &values)| {
            let products = same(values);
            document(&number.to_string(), "s", 5, &[&products[0], &products[1], &products[2]])
        })
        .collect();
    let values = values(setup(targets, &[1.0], Measure::Gradient), &documents);
    let scale = |a: f64, b: f64| ((a * a + b * b) / 3.0).sqrt();
    let (a, b, c) = (scale(30.0, 10.0), scale(0.2, 0.6), scale(3.0, 0.0));
    near(values.combined()[0], f64::midpoint(30.0 / a, 0.2 / b) / 2.0);
    near(values.combined()[1], f64::midpoint(f64::midpoint(10.0 / a, -0.6 / b), 3.0 / c));
    assert_eq!(values.combined()[2], 0.0);
    assert_eq!(values.of_target(1), [f64::from(0.2f32), f64::from(-0.6f32), 0.0]);
}

#[test]
fn percentiles_are_within_the_source() {
    let documents: Vec<Document> = [("x", 1.0), ("y", 9.0), ("x", 3.0), ("x", 3.0), ("x", -2.0)]
        .iter()
        .enumerate()
        .map(|(number, (source, value))| document(&number.to_string(), source, 5, &[&[*value, *value]]))
        .collect();
    let rows = values(setup(vec![target("t", "d", 1)], &[1.0], Measure::Gradient), &documents);
    assert_eq!(rows.rows().map(|row| row.pct).collect::<Vec<_>>(), [37.5, 50.0, 75.0, 75.0, 12.5]);
    assert_eq!(rows.sources(), ["x", "y"]);
}

/// A batch's value is that of the mean gradient over its tokens, however items were shared out among parts.
#[test]
fn batches_are_means_by_tokens() {
    let documents = [document("a", "x", 30, &[&[1.0, 3.0]]), document("b", "x", 10, &[&[-1.0, 1.0]])];
    let mut uneven = target("t", "d", 1);
    uneven.parts = vec![3.0, 1.0];
    let values = values(setup(vec![uneven], &[1.0], Measure::Gradient), &documents);
    let batch = values.batch("first", &[0, 1, 1]).unwrap();
    // Halves (30 - 20) / 50 and (90 + 20) / 50 with weights 3 and 1.
    let (one, other) = (0.2, 2.2);
    let mean = 0.75 * one + 0.25 * other;
    assert!((batch.targets[0].value - mean).abs() < 1e-12);
    let variance = 0.75 * (one - mean).powi(2) + 0.25 * (other - mean).powi(2);
    assert!((batch.targets[0].stderr.unwrap() - variance.sqrt()).abs() < 1e-12);
    assert_eq!((batch.documents, batch.tokens), (3, 50));
    assert!(values.batch("b", &[]).is_err());
    let message = values.batch("b", &[2]).unwrap_err().to_string();
    assert_eq!(message, "batch b: expected documents below 2, found document 2");
    // The same two documents as a sample of their source are less sure.
    assert!(values.by_source(|_| true)[0].targets[0].stderr > values.batch("all", &[0, 1]).unwrap().targets[0].stderr);
}

#[test]
fn lines_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.jsonl");
    let documents = [document("a", "x", 30, &[&[1.0, 3.0]]), document("b", "x", 10, &[&[-1.0, 1.0]])];
    let values = values(setup(vec![target("t", "d", 1)], &[1.0], Measure::Gradient), &documents);
    write_lines(&path, values.rows()).unwrap();
    let read: Vec<ValueRow> = read_lines(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, values.rows().collect::<Vec<_>>());
    let text = std::fs::read_to_string(&path).unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with(r#"{"doc_id":"a","source":"x","n_tokens":31,"n_loss_tokens":30,"loss":2.0,"value":"#),
        "{first}"
    );
    assert!(first.contains(r#""value_t":2.0"#) && !first.contains("null"), "{first}");
    let full = ValueRow { seen_steps: Some(vec![1, 5]), exclude: Some(3), copies: Some(1.5), ..read[0].clone() };
    std::fs::write(&path, format!("{}\n{{}}\n", serde_json::to_string(&full).unwrap())).unwrap();
    let read: Vec<_> = read_lines(&path).unwrap().collect();
    assert_eq!(read[0].as_ref().unwrap(), &full);
    let message = read[1].as_ref().unwrap_err().to_string();
    assert!(message.contains("line 2: expected a document's values, found a line that is none"), "{message}");
}

#[test]
fn bad_targets_are_refused() {
    let text = |setup: Setup| ValueTable::new(setup).unwrap_err().to_string();
    let mut zero = target("zero", "d", 1);
    zero.grams[0] = vec![1.0, -1.0, -1.0, 1.0];
    let mut single = target("single", "d", 1);
    single.parts = vec![1.0];
    let mut short = target("short", "d", 2);
    short.grams.pop();
    let mut nan = target("nan", "d", 1);
    nan.grams[0][2] = f64::NAN;
    let targets = vec![zero, single, target("a", "d", 1), target("a", "d", 1), target("se", "d", 1), nan];
    let message = text(setup(targets, &[1.0], Measure::Gradient));
    for wanted in [
        "target zero, checkpoint 1: expected a gradient that is not zero, found one of norm 0",
        "target single: expected at least two parts",
        "target a: expected a name of its own",
        "target se: expected a name of its own",
        "target nan, checkpoint 1: expected 2 x 2 finite products",
    ] {
        assert!(message.contains(wanted), "{message}");
    }
    assert_eq!(message.lines().count(), 5);
    let message = text(setup(vec![short], &[1.0, 0.0], Measure::Gradient));
    assert!(message.contains("expected products of the parts at 2 checkpoints, found 1"), "{message}");
    assert!(message.contains("checkpoint 2: expected a weight above 0, found 0"), "{message}");
    assert!(text(setup(Vec::new(), &[1.0], Measure::Gradient)).contains("at least one target"));
}

#[test]
fn bad_documents_are_refused_and_not_taken() {
    let mut table = ValueTable::new(setup(vec![target("t", "d", 1)], &[1.0], Measure::Gradient)).unwrap();
    let good = document("d7", "x", 5, &[&[1.0, 1.0]]);
    let edited = |edit: &dyn Fn(&mut Document)| {
        let mut document = good.clone();
        edit(&mut document);
        document
    };
    let cases = [
        (edited(&|d| d.at[0].squared_norm = 0.0), "expected a gradient that is not zero, found one of norm 0"),
        (edited(&|d| d.at[0].products[0][1] = f64::NAN), "expected finite numbers, found NaN"),
        (edited(&|d| d.at[0].products[0][1] = 1e60), "expected finite numbers, found 1"),
        (edited(&|d| d.at[0].products[0].push(1.0)), "expected a product for each part of each target"),
        (edited(&|d| d.at.clear()), "expected numbers at 1 checkpoints, found 0"),
        (edited(&|d| d.loss = f64::INFINITY), "loss: expected a finite loss, found inf"),
        (edited(&|d| d.loss_tokens = 0), "expected between 1 and 6 tokens with a loss, found 0"),
    ];
    for (document, wanted) in cases {
        let message = table.push(&document).unwrap_err().to_string();
        assert!(message.starts_with("document d7") && message.contains(wanted), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    assert!(table.is_empty());
    assert!(table.finish().unwrap_err().to_string().contains("at least one document"));
    let mut table = ValueTable::new(setup(vec![target("t", "d", 1)], &[1.0], Measure::Step)).unwrap();
    assert!(table.push(&good).unwrap_err().to_string().contains("expected the optimizer's step"));
    let mut table = ValueTable::new(setup(vec![target("t", "d", 1)], &[1.0], Measure::Gradient)).unwrap();
    table.push(&document("a", "x", 5, &[&[0.0, 0.0]])).unwrap();
    assert!(table.finish().unwrap_err().to_string().starts_with("target t: expected a value that is not zero"));
}

/// 100,000 documents for eight targets at three checkpoints.
#[test]
fn many_documents_take_little_room() {
    let targets: Vec<Target> = (0..8).map(|number| target(&format!("t{number}"), "d", 3)).collect();
    let mut table = ValueTable::new(setup(targets, &[1.0; 3], Measure::Gradient)).unwrap();
    for number in 0..100_000u32 {
        let value = f64::from(number.wrapping_mul(2_654_435_761) >> 8) - 8_388_608.0;
        let products = vec![vec![value, value]; 8];
        let mut document = document(&format!("corpus/part-000/{number:010}"), "s", 5, &[]);
        document.at = vec![DocumentAt { squared_norm: 1.0, products, step: None }; 3];
        table.push(&document).unwrap();
    }
    assert!(table.bytes() < 100 << 20, "{}", table.bytes());
    let values = table.finish().unwrap();
    assert_eq!(values.rows().len(), 100_000);
    let (low, high) = values.by_source(|_| true)[0].combined.interval.unwrap();
    assert!(low < 0.0 && 0.0 < high);
}
