//! The scores of lm-evaluation-harness 0.4.13 (`--model hf`, float32, batch 1) on three checkpoints.
//!
//! Log-likelihoods within 1e-3 + 1e-6 |ll|; the predicted choice equal wherever the peer's own margin exceeds 1e-4
//! nats; metrics and standard errors equal to 1e-6 up to those ties.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use veval::ckpt::discover;
use veval::lm::{LanguageModel, Local, LocalOptions, cpu};
use veval::metric::Outcome;
use veval::run::{Outcomes, Prepared, RunOptions, Silent, encode, prepare_task, run_checkpoint};
use veval::store::{MetricRow, Sample};

use crate::random_checkpoint;
use crate::shared::shared_data;
use crate::support::{data_of, fixtures, member, recorded, recordings, sha, task};

const MARGIN: f64 = 1e-4;

struct Tally {
    items: usize,
    worst: f64,
    close_calls: usize,
}

fn compare(checkpoint: &str, folder: &Path, shared: &Path) {
    let model = Local::open(folder, cpu(2).unwrap(), &LocalOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let results: Value = serde_json::from_slice(
        &std::fs::read(fixtures().join("lm_eval").join(checkpoint).join("results.json")).unwrap(),
    )
    .unwrap();
    let mut tally = Tally { items: 0, worst: 0.0, close_calls: 0 };
    let mut groups: BTreeMap<(&str, usize), Vec<Outcomes>> = BTreeMap::new();
    let out = tempfile::tempdir().unwrap();
    for (name, shots, path) in recordings(checkpoint) {
        let rows = recorded(&path);
        let mut task = task(&name, shots, rows.len());
        if let veval::suite::Kind::Generation { writing, .. } = &mut task.kind {
            // The recording says 64, to bound its time.
            writing.max_tokens = 64;
        }
        let prepared = prepare_task(&task, Some(&data_of(&name, shared))).unwrap_or_else(|e| panic!("{e}"));
        let prepared =
            Prepared { suite: format!("{name}-{shots}"), suite_fingerprint: String::new(), tasks: vec![prepared] };
        let encoded =
            encode(&prepared, model.tokenizer(), model.info().max_length, 2).unwrap_or_else(|e| panic!("{e}"));
        let run = RunOptions::new(out.path(), 2);
        let reference = discover(folder).unwrap().remove(0);
        let outcomes = run_checkpoint(&prepared, &encoded, &model, (&reference, "c"), &run, &mut Silent)
            .unwrap_or_else(|e| panic!("{e}"));
        let place = format!("{checkpoint}, {name}, {shots} shots");
        let samples = outcomes.folder.samples().unwrap();
        let close: usize = samples.iter().zip(&rows).map(|(sample, row)| item(&place, sample, row, &mut tally)).sum();
        tally.close_calls += close;
        if close == 0 {
            aggregates(&place, &outcomes.rows, &results["results"][format!("{name}-{shots}shot")]);
        }
        if let Some((group, _)) = member(&name) {
            groups.entry((group, shots)).or_default().push(outcomes);
        }
    }
    assert_eq!(groups.len(), 5);
    for ((name, shots), members) in groups {
        group(checkpoint, name, shots, &members, &results);
    }
    println!(
        "{checkpoint}: {} items, largest log-likelihood difference {:.2e} of its allowance, {} close calls",
        tally.items, tally.worst, tally.close_calls
    );
    assert!(tally.items >= 6_000, "{} items", tally.items);
}

/// Compares one item; 1 if the peer's own margin is too small to demand the same prediction.
fn item(place: &str, sample: &Sample, row: &Value, tally: &mut Tally) -> usize {
    let place = format!("{place}, item {}", sample.row);
    tally.items += 1;
    let mut near = |ours: f64, theirs: f64| {
        let allowance = 1e-3 + 1e-6 * theirs.abs();
        let difference = (ours - theirs).abs();
        assert!(difference <= allowance, "{place}: {ours} is not {theirs}");
        tally.worst = tally.worst.max(difference / allowance);
    };
    let sum = |log_probs: &[f32]| log_probs.iter().map(|&x| f64::from(x)).sum::<f64>();
    match &sample.outcome {
        Outcome::Choices(outcome) => {
            let theirs: Vec<f64> = row["ll"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(outcome.choices.len(), theirs.len(), "{place}");
            for (index, (choice, theirs)) in outcome.choices.iter().zip(&theirs).enumerate() {
                near(choice.log_likelihood(), *theirs);
                assert_eq!(Some(choice.greedy), row["greedy"][index].as_bool(), "{place}, choice {index}");
                assert_eq!(
                    Some(choice.log_probs.len() as u64),
                    row["tokens"][index][1].as_u64(),
                    "{place}: tokens of choice {index}"
                );
            }
            let ours: Vec<f64> = outcome.choices.iter().map(veval::metric::ChoiceScore::log_likelihood).collect();
            let margin = |values: &[f64]| {
                let mut sorted = values.to_vec();
                sorted.sort_by(|a, b| b.total_cmp(a));
                sorted[0] - sorted[1]
            };
            let best =
                |values: &[f64]| values.iter().enumerate().fold(0, |b, (i, v)| if *v > values[b] { i } else { b });
            let per_char: Vec<f64> = theirs.iter().zip(&outcome.choices).map(|(ll, c)| ll / c.chars as f64).collect();
            if margin(&theirs) > MARGIN {
                assert_eq!(best(&ours), best(&theirs), "{place}: another prediction");
            }
            let close = margin(&theirs) <= MARGIN || margin(&per_char) <= MARGIN / 100.0;
            if !close {
                for (metric, value) in row["metrics"].as_object().unwrap() {
                    // The peer calls TruthfulQA's probability mass `acc`.
                    let ours = sample
                        .metrics
                        .get("mc2")
                        .filter(|_| metric == "acc")
                        .or_else(|| sample.metrics.get(metric))
                        .unwrap();
                    let tolerance = if sample.metrics.contains_key("mc2") { 1e-3 } else { 1e-6 };
                    assert!((ours - value.as_f64().unwrap()).abs() <= tolerance, "{place}: {metric} {ours}, {value}");
                }
            }
            usize::from(close)
        }
        Outcome::Cloze(outcome) => {
            near(sum(&outcome.log_probs), row["ll"][0].as_f64().unwrap());
            assert_eq!(Some(outcome.greedy), row["greedy"][0].as_bool(), "{place}");
            0
        }
        Outcome::Rolling(outcome) => {
            // A document sums thousands of tokens: the allowance is per window of the peer's own f32 sum.
            near(sum(&outcome.log_probs), row["ll"].as_f64().unwrap());
            0
        }
        Outcome::Answer(outcome) => {
            assert_eq!(Some(outcome.text.as_str()), row["text"].as_str(), "{place}");
            for (filter, value) in row["exact_match"].as_object().unwrap() {
                assert_eq!(Some(sample.metrics[&format!("exact_match,{filter}")]), value.as_f64(), "{place}");
            }
            0
        }
    }
}

/// Aggregated values and standard errors.
fn aggregates(place: &str, rows: &[MetricRow], results: &Value) {
    let mut compared = 0;
    for (key, value) in results.as_object().unwrap_or_else(|| panic!("{place}: no results")) {
        let Some((metric, filter)) = key.split_once(',') else { continue };
        let (metric, of_error) = match metric.strip_suffix("_stderr") {
            Some(metric) => (metric, true),
            None => (metric, false),
        };
        let mc2 = place.contains("mc2") && metric == "acc";
        let ours = rows
            .iter()
            .find(|row| row.metric == if mc2 { "mc2" } else { metric } && row.filter == filter && row.slice.is_empty());
        let ours = ours.unwrap_or_else(|| panic!("{place}: no {key}"));
        let Some(theirs) = value.as_f64() else {
            assert_eq!((value.as_str(), ours.stderr), (Some("N/A"), None), "{place}: {key}");
            continue;
        };
        let ours = if of_error { ours.stderr.unwrap() } else { ours.value };
        // Relative for perplexities, which go into the millions; absolute for all else.
        let difference = (ours - theirs).abs() / theirs.abs().max(1.0);
        assert!(difference <= 1e-6, "{place}: {key} is {ours}, not {theirs}");
        compared += 1;
    }
    assert!(compared >= 2 || place.contains("wikitext") || place.contains("texts"), "{place}: {compared} values");
}

/// A group: weighted by items, pooled error. (BLiMP's is a plain mean, of members of equal size.)
fn group(checkpoint: &str, name: &str, shots: usize, members: &[Outcomes], results: &Value) {
    let mut manifest = members[0].manifest.clone();
    manifest.tasks = members.iter().flat_map(|outcome| outcome.manifest.tasks.clone()).collect();
    let samples: Vec<Sample> = members.iter().flat_map(|outcome| outcome.folder.samples().unwrap()).collect();
    let rows = veval::run::score(&manifest, &samples, 1).unwrap();
    let ours = rows.iter().find(|row| row.task == name && row.metric == "acc").unwrap();
    let theirs = &results["groups"][format!("{name}-{shots}shot")];
    let wanted = |key: &str| theirs[key].as_f64().unwrap_or_else(|| panic!("{checkpoint}: {key} in {theirs}"));
    assert!((ours.value - wanted("acc,none")).abs() < 1e-6, "{checkpoint}: group {} {theirs}", ours.value);
    assert!((ours.stderr.unwrap() - wanted("acc_stderr,none")).abs() < 1e-6, "{checkpoint}: group {ours:?} {theirs}");
}

#[test]
fn a_trained_llama_scores_as_lm_eval_says() {
    let Some(shared) = shared_data() else { return };
    compare("stories260k", &shared.join("tiny-lm-stories260k-hf"), &shared);
}

#[test]
fn a_random_gpt2_scores_as_lm_eval_says() {
    let Some(shared) = shared_data() else { return };
    compare("random_gpt2", &random_checkpoint::folder("gpt2"), &shared);
}

#[test]
fn a_random_gpt_neox_scores_as_lm_eval_says() {
    let Some(shared) = shared_data() else { return };
    compare("random_neox", &random_checkpoint::folder("gpt_neox"), &shared);
}

/// The recorder's hash is the head of ours.
#[test]
fn prompt_hashes_are_sha256() {
    assert_eq!(sha("abc"), "ba7816bf8f01cfea");
}
