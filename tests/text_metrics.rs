//! Text metrics against the field's own libraries: `tests/oracle/text_metrics.py` recorded what they say of invented
//! texts.

use std::path::Path;

use serde_json::Value;
use veval::metric::classify::Confusion;
use veval::metric::extract::{Extractor, Finding, Target, extractive_match, hendrycks};
use veval::metric::repeat::{g_pass_at_k, mean_g_pass_at_k, pass_at_k};
use veval::metric::text::rouge::{Kind as Rouge, Stemming};
use veval::metric::text::{bag, bleu, chrf, drop, edit, normalise, plain_bleu, porter, ter, treebank};

#[path = "shared/mod.rs"]
mod shared;

fn recorded() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text_metrics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|entry| text(entry).to_owned()).collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[track_caller]
fn near(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found} is not {expected}");
}

const ROUGES: [Rouge; 5] = [Rouge::Runs(1), Rouge::Runs(2), Rouge::Runs(3), Rouge::Subsequence, Rouge::Summary];

#[test]
fn single_answers() {
    let record = recorded();
    let items = list(&record["items"]);
    assert!(items.len() >= 25);
    for item in items {
        let (answer, references) = (text(&item["answer"]), texts(&item["references"]));
        let chrf = |kind| chrf::Counts::of(kind, answer, &references).score();
        near(bleu::Counts::of(answer, &references).sentence_bleu(), &item["sentence_bleu"], answer);
        near(chrf(chrf::Kind::Chrf), &item["sentence_chrf"], answer);
        near(chrf(chrf::Kind::ChrfPlusPlus), &item["sentence_chrf++"], answer);
        near(ter::Counts::of(answer, &references).rate(), &item["sentence_ter"], answer);
        let tokens: Vec<Vec<String>> = references.iter().map(|text| treebank::nltk(text)).collect();
        for (weights, expected) in
            [&[1.0][..], &[0.0, 0.0, 0.0, 1.0], &[0.25; 4]].into_iter().zip(list(&item["plain_bleu"]))
        {
            near(plain_bleu::sentence_bleu(&treebank::nltk(answer), &tokens, weights), expected, answer);
        }
        for (index, reference) in references.iter().enumerate() {
            near(bag::token_f1(answer, reference), &item["token_f1"][index], answer);
            near(bag::set_f1(answer, reference), &item["set_f1"][index], answer);
            assert_eq!(edit::character_errors(answer, reference).0, number(&item["characters"][index]), "{answer}");
            assert_eq!(edit::word_errors(answer, reference).0, number(&item["words"][index]), "{answer}");
            for (name, stemming) in [("plain", Stemming::None), ("porter", Stemming::Porter)] {
                for (kind, expected) in ROUGES.iter().zip(list(&item["rouge"][name][index])) {
                    let score = kind.score(answer, reference, stemming);
                    near(score.precision, &expected[0], answer);
                    near(score.recall, &expected[1], answer);
                    near(score.f, &expected[2], answer);
                }
            }
        }
    }
}

#[test]
fn moved_words() {
    for item in list(&recorded()["shuffled"]) {
        let (answer, reference) = (text(&item["answer"]), text(&item["reference"]));
        near(ter::Counts::of(answer, &[reference]).rate(), &item["ter"], answer);
        near(bleu::Counts::of(answer, &[reference]).sentence_bleu(), &item["bleu"], answer);
        near(chrf::Counts::of(chrf::Kind::ChrfPlusPlus, answer, &[reference]).score(), &item["chrf++"], answer);
        for (kind, expected) in [Rouge::Runs(2), Rouge::Subsequence, Rouge::Summary].iter().zip(list(&item["rouge"])) {
            near(kind.score(answer, reference, Stemming::None).f, expected, answer);
        }
    }
}

#[test]
fn corpora() {
    let record = recorded();
    for corpus in list(&record["corpora"]) {
        let items = &list(&record["items"])[number(&corpus["from"])..number(&corpus["to"])];
        let pairs: Vec<(&str, Vec<String>)> =
            items.iter().map(|item| (text(&item["answer"]), texts(&item["references"]))).collect();
        let bleu: bleu::Counts = pairs.iter().map(|(answer, references)| bleu::Counts::of(answer, references)).sum();
        near(bleu.corpus_bleu(), &corpus["bleu"], "bleu");
        for (kind, name) in [(chrf::Kind::Chrf, "chrf"), (chrf::Kind::ChrfPlusPlus, "chrf++")] {
            let sum: chrf::Counts =
                pairs.iter().map(|(answer, references)| chrf::Counts::of(kind, answer, references)).sum();
            near(sum.score(), &corpus[name], name);
        }
        let ter = ter::Counts::sum(pairs.iter().map(|(answer, references)| ter::Counts::of(answer, references)));
        near(ter.rate(), &corpus["ter"], "ter");
    }
}

#[test]
fn normalisers_tokenizers_and_stems() {
    let record = recorded();
    for entry in list(&record["normalised"]) {
        let source = text(&entry["text"]);
        assert_eq!(normalise::squad(source), text(&entry["squad"]), "{source:?}");
        assert_eq!(normalise::lighteval_helm(source), text(&entry["lighteval_helm"]), "{source:?}");
        assert_eq!(normalise::drop(source), text(&entry["drop"]), "{source:?}");
    }
    for entry in list(&record["tokenised"]) {
        let source = text(&entry["text"]);
        assert_eq!(treebank::treebank(source), texts(&entry["treebank"]), "{source:?}");
        assert_eq!(treebank::nltk(source), texts(&entry["nltk"]), "{source:?}");
    }
    for entry in list(&record["mteval"]) {
        let found = bleu::tokens(text(&entry["text"])).join(" ");
        assert_eq!(found, text(&entry["tokens"]), "{:?}", entry["text"]);
    }
    let stems = list(&record["stems"]);
    assert!(stems.len() > 400);
    for entry in stems {
        assert_eq!(porter::stem(text(&entry[0])), text(&entry[1]), "{}", entry[0]);
    }
}

#[test]
fn spans() {
    for entry in list(&recorded()["spans"]) {
        let answers: Vec<Vec<String>> = list(&entry["answers"]).iter().map(texts).collect();
        let scores = drop::scores(&texts(&entry["predicted"]), &answers);
        near(scores.exact_match, &entry["em"], "exact match");
        near(scores.f1, &entry["f1"], "f1");
    }
}

#[test]
fn answers_of_math() {
    let record = recorded();
    for entry in list(&record["equivalent"]) {
        let (a, b) = (text(&entry[0]), text(&entry[1]));
        assert_eq!(hendrycks::equivalent(a, b), entry[2].as_bool().unwrap(), "{a} and {b}");
    }
    for entry in list(&record["boxed"]) {
        assert_eq!(hendrycks::last_boxed(text(&entry[0])), entry[1].as_str(), "{}", entry[0]);
    }
    assert_eq!(hendrycks::between_dollars("it is $1$ or $2$."), "1$ or $2");
    assert_eq!(hendrycks::between_dollars("costs $5"), "costs $5");
}

/// Published solutions: their last box is the answer of the file, under both rules; the box of the next solution is not.
#[test]
fn published_solutions() {
    let Some(data) = shared::shared_data() else { return };
    let rows = std::fs::read_to_string(data.join("math/math_test_head60_per_category.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let golds: Vec<String> = rows.iter().map(|row| format!("${}$", text(&row["answer"]))).collect();
    let latex = Extractor::new(&[Target::Latex { boxed_first: false }]);
    let boxed = Extractor::new(&[Target::Plain, Target::Latex { boxed_first: true }]);
    let (mut read, mut chance) = (0, 0);
    for (index, (row, gold)) in rows.iter().zip(&golds).enumerate() {
        let solution = text(&row["chain_of_thought"]);
        let answer = hendrycks::last_boxed(solution).unwrap();
        assert!(hendrycks::equivalent(answer, text(&row["answer"])), "{answer} and {gold}");
        assert!(extractive_match((&latex, &[gold]), (&boxed, solution), 6), "{gold} in {solution}");
        read += usize::from(matches!(latex.find(gold)[..], [Finding::Values(_), ..]));
        let other = &golds[(index + 1) % golds.len()];
        chance += usize::from(extractive_match((&latex, &[other]), (&boxed, solution), 6));
    }
    println!("{} solutions, {read} answers read, {chance} equal to the next answer", rows.len());
    assert!(rows.len() == 420 && read >= 388 && chance < 21);
}

#[test]
fn classes() {
    for (name, entry) in recorded()["classes"].as_object().unwrap() {
        let numbers = |key: &str| list(&entry[key]).iter().map(number).collect::<Vec<_>>();
        let table = Confusion::of(numbers("gold").into_iter().zip(numbers("predicted")));
        for (found, key) in [
            (table.accuracy(), "accuracy"),
            (table.accuracy(), "micro"),
            (table.balanced_accuracy(), "balanced"),
            (table.macro_f1(), "macro"),
            (table.weighted_f1(), "weighted"),
            (table.largest_f1(), "largest"),
            (table.matthews_correlation(), "mcc"),
        ] {
            near(found.unwrap(), &entry[key], &format!("{key} of {name}"));
        }
    }
}

#[test]
fn repeated_answers() {
    for entry in list(&recorded()["repeats"]) {
        let (n, c, k) = (number(&entry["n"]), number(&entry["c"]), number(&entry["k"]));
        near(pass_at_k(n, c, k), &entry["pass"], "pass@k");
        for (quarter, expected) in list(&entry["g_pass"]).iter().enumerate() {
            near(g_pass_at_k(n, c, k, quarter as f64 / 4.0), expected, "G-Pass@k");
        }
        near(mean_g_pass_at_k(n, c, k), &entry["mg_pass"], "mG-Pass@k");
    }
}
