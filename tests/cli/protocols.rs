//! Items asked in several ways.

use crate::support::{Bench, example};

const WAYS: &str = r#"
protocols = ["continuation", "letter", "generative"]
metrics = ["acc", "acc_norm", "acc_mutual_info"]
prefix = { plain = "", again = "", told = "Dale is where Arlo. " }
"#;

/// Null: the same prompt under another name gives the same answers to the last bit; planted: another prompt does not.
#[test]
fn protocols_are_compared_on_the_same_items() {
    let bench = Bench::new();
    let suite = bench.suite(WAYS);
    let checkpoints = [60, 700, 2500].map(|step| example(step).to_str().unwrap().to_owned());
    let mut arguments = vec!["run", suite.to_str().unwrap(), "--format", "csv"];
    arguments.extend(checkpoints.iter().map(String::as_str));
    let ran = bench.veval(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told = bench.veval(&["protocols", "runs/mini"]);
    assert_eq!(told.code, 0, "{}", told.err);
    for part in ["towns", "letter:told/acc", "generative:plain/exact_match,letter", "Kendall's tau", "4 items"] {
        assert!(told.out.contains(part), "{part}: {}", told.out);
    }
    let scores: Vec<csv::StringRecord> =
        csv::Reader::from_reader(ran.out.as_bytes()).records().map(Result::unwrap).collect();
    let score = |checkpoint: &str, task: &str, metric: &str| -> f64 {
        let row = scores
            .iter()
            .find(|row| checkpoint.ends_with(&row[2]) && &row[5] == task && &row[9] == metric && row[6].is_empty());
        row.unwrap_or_else(|| panic!("{checkpoint} {task} {metric}"))[10].parse().unwrap()
    };
    let differences = bench.read("runs/mini/protocols.csv");
    let mut compared = 0;
    for row in csv::Reader::from_reader(differences.as_bytes()).records().map(Result::unwrap) {
        let number = |column: usize| row[column].parse::<f64>().unwrap();
        assert_eq!(number(7), number(6) - number(5), "{row:?}");
        let (variant, metric) = row[4].split_once('/').unwrap();
        if !variant.starts_with("generative") {
            assert_eq!(number(6), score(&row[1], &format!("towns:{variant}"), metric), "{row:?}");
        }
        if row[3].replace(":plain", ":again") == row[4] {
            assert_eq!((number(7), number(8)), (0.0, 0.0), "{row:?}");
            compared += 1;
        }
    }
    // Three checkpoints; continuation has three metrics, letter two, generative two filters.
    assert_eq!(compared, 3 * (3 + 2 + 2));
    let ranks = bench.read("runs/mini/protocol_ranks.csv");
    let same = "towns,continuation:plain/acc,continuation:again/acc,3,1.0,0,,,,";
    assert!(ranks.lines().any(|line| line == same), "{ranks}");
    // The text before the prompt is not scored, and matters.
    let prompt = |variant: &str| {
        bench
            .read("runs/mini/step2500/samples.jsonl")
            .lines()
            .find(|line| line.contains(&format!("\"towns:{variant}/0/")))
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .unwrap()
    };
    let scored = |variant: &str| prompt(variant)["outcome"]["choices"]["choices"].clone();
    assert_eq!(scored("continuation:plain"), scored("continuation:again"));
    assert_ne!(scored("continuation:plain")[0]["log_probs"], scored("continuation:told")[0]["log_probs"]);
    let length = |variant: &str| scored(variant)[0]["log_probs"].as_array().unwrap().len();
    assert_eq!(length("continuation:plain"), length("continuation:told"));
    // One name chooses all variants, a full name one.
    let one =
        bench.veval(&["run", suite.to_str().unwrap(), &checkpoints[0], "--task", "towns:letter:told", "--out", "one"]);
    assert_eq!(one.code, 0, "{}", one.err);
    assert_eq!(bench.read("one/mini/step60/samples.jsonl").lines().count(), 4);
    let all = bench.veval(&["run", suite.to_str().unwrap(), &checkpoints[0], "--task", "towns", "--out", "all"]);
    assert_eq!(all.code, 0, "{}", all.err);
    assert_eq!(bench.read("all/mini/step60/samples.jsonl").lines().count(), 4 * 9);
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_place() {
    let bench = Bench::new();
    let refused = |extra: &str, wanted: &str| {
        let suite = bench.suite(extra);
        let ran = bench.veval(&["run", suite.to_str().unwrap(), example(60).to_str().unwrap()]);
        assert!(ran.code == 2 && ran.err.contains(wanted), "{extra}: {}", ran.err);
    };
    refused("protocols = [\"letters\"]", "expected one of continuation, letter, generative, found \"letters\"");
    refused("protocols = [\"letter\", \"letter\"]", "found \"letter\" twice");
    refused("prefix = { \"a:b\" = \"\" }", "found \"a:b\"");
    refused("prefix = 3", "expected a text or a table of texts");
    refused("profile = \"olmes\"\nshots = 1", "expected `shots_file`");
    refused("protocols = [\"letter\"]\nletter_prompt = \"{{ listing \"", "letter_prompt");
    let none = bench.veval(&["protocols", "."]);
    assert!(none.code == 2 && none.err.contains("expected complete runs"), "{}", none.err);
}
