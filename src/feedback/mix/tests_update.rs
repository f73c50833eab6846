//! Whole updates: planted truth, nulls, curricula, and mixtures that cannot be met.

use std::collections::BTreeMap;

use super::*;
use crate::lab::train::{Mixture, MixtureFile, Shares, SourceRecord, StageRecord};

const RUN: Run = Run { total_tokens: 4096 * 1_000_000, sequence_length: 4096 };

pub(super) fn file(sources: &[(&str, f64, Option<f64>)]) -> MixtureFile {
    let source = |&(name, q, available_tokens): &(&str, f64, Option<f64>)| SourceRecord {
        name: name.to_owned(),
        q,
        available_tokens,
        paths: vec![format!("data/{name}")],
        ..SourceRecord::default()
    };
    MixtureFile {
        format: "veval.mixture/1".into(),
        unit: "tokens".into(),
        total_tokens: None,
        sequence_length: None,
        sources: sources.iter().map(source).collect(),
        stages: Vec::new(),
        trust: None,
        floor: None,
    }
}

fn stage(name: &str, start_tokens: u64, values: &[(&str, f64, f64)]) -> StageUpdate {
    let value = |&(name, value, error): &(&str, f64, f64)| (name.to_owned(), SourceValue { value, error });
    StageUpdate { name: name.to_owned(), start_tokens, values: values.iter().map(value).collect() }
}

fn shares(stage: &MixedStage) -> Vec<f64> {
    stage.sources.iter().map(|source| source.share).collect()
}

#[test]
fn nothing_moves_without_values() {
    let previous = file(&[("math", 0.1, None), ("code", 0.2, None), ("web", 0.7, None)]);
    let cases = [
        ("zero", [("math", 0.0, 0.0), ("code", 0.0, 0.1), ("web", 0.0, 0.0)]),
        ("equal", [("math", 0.3, 0.0), ("code", 0.3, 0.0), ("web", 0.3, 0.0)]),
        ("lost in errors", [("math", 0.3, 1e9), ("code", -0.1, 1e9), ("web", 0.01, 1e9)]),
        ("large and lost", [("math", 3e9, 1e15), ("code", -1e9, 1e15), ("web", 0.01, 1e15)]),
    ];
    for (name, values) in cases {
        let mixed = update(&previous, RUN, &[stage("next", 0, &values)], Rule::default()).unwrap();
        assert_eq!(shares(&mixed.stages[0]), [0.1, 0.2, 0.7], "{name}");
        assert!(mixed.stages[0].divergence < 1e-15);
        let said = mixed.stages[0].bindings.iter().map(Binding::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains("errors"), "{name}: {said}");
    }
}

#[test]
fn pure_noise_spends_little_of_the_limit() {
    let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    let sources: Vec<(&str, f64, Option<f64>)> = names.iter().map(|name| (name.as_str(), 0.05, None)).collect();
    let previous = file(&sources);
    let mut stream = crate::lab::random::Stream::new(1, &["noise"]);
    let mut spent = 0.0;
    for _ in 0..50 {
        let mut normal = || (0..12).map(|_| stream.unit()).sum::<f64>() - 6.0;
        let values: Vec<(&str, f64, f64)> = names.iter().map(|name| (name.as_str(), normal(), 1.0)).collect();
        let rule = Rule { floor: 0.0, ..Rule::default() };
        let mixed = update(&previous, RUN, &[stage("noise", 0, &values)], rule).unwrap();
        spent += mixed.stages[0].divergence / 50.0;
        assert!(matches!(mixed.stages[0].bindings[0], Binding::Errors { .. } | Binding::Trust { .. }));
    }
    assert!(spent < 0.25 * 0.1, "{spent}");
}

#[test]
fn a_planted_source_gains_what_the_closed_form_says() {
    let previous = file(&[("math", 0.1, None), ("web", 0.9, None)]);
    let values = [("math", 0.03, 0.0), ("web", 0.0, 0.0)];
    let mixed = update(&previous, RUN, &[stage("next", 0, &values)], Rule::default()).unwrap();
    let next = &mixed.stages[0];
    let odds = (0.1f64 / 0.9).ln() + next.eta * 0.03;
    let wanted = 1.0 / (1.0 + (-odds).exp());
    assert!((next.sources[0].share - wanted).abs() < 1.0 / next.sequences as f64);
    assert!(next.divergence <= 0.1 && next.divergence > 0.1 - 1e-5);
    assert_eq!(next.sources[0].interval, (next.sources[0].share, next.sources[0].share));
    // KL(q || 0.1) = 0.1 nats.
    assert!((wanted - 0.25687).abs() < 1e-5, "{wanted}");
    assert!(matches!(next.bindings[..], [Binding::Trust { .. }]));
    assert_eq!(
        next.bindings[0].to_string(),
        "the trust limit holds the mixture back: its divergence is 0.1000 of 0.1 nats"
    );
}

#[test]
fn intervals_hold_the_share_and_widen_with_errors() {
    let previous = file(&[("a", 0.2, None), ("b", 0.3, None), ("c", 0.5, None)]);
    let width = |error: f64| {
        let values = [("a", 1.0, error), ("b", 0.2, error), ("c", -0.5, error)];
        let mixed = update(&previous, RUN, &[stage("next", 0, &values)], Rule::default()).unwrap();
        let source = &mixed.stages[0].sources[0];
        assert!(source.interval.0 <= source.share && source.share <= source.interval.1);
        assert_eq!(mixed, update(&previous, RUN, &[stage("next", 0, &values)], Rule::default()).unwrap());
        source.interval.1 - source.interval.0
    };
    let widths = [width(0.0), width(0.02), width(0.2)];
    assert!(widths[0] == 0.0 && widths[0] < widths[1] && widths[1] < widths[2], "{widths:?}");
}

#[test]
fn floors_and_caps_bind_and_say_so() {
    // 1e8 tokens, four times, of 4.096e9: at most 0.0977 of it.
    let previous = file(&[("math", 0.08, Some(1e8)), ("code", 0.12, None), ("old", 0.011, None), ("web", 0.789, None)]);
    let values = [("math", 1.0, 0.0), ("code", 0.5, 0.0), ("old", -9.0, 0.0), ("web", 0.0, 0.0)];
    let rule = Rule { floor: 0.01, ..Rule::default() };
    let mixed = update(&previous, RUN, &[stage("next", 0, &values)], rule).unwrap();
    let next = &mixed.stages[0];
    let repeat = next.sources[0].repeat.unwrap();
    assert!(repeat <= 4.0 && repeat > 4.0 - 1e-3, "{repeat}");
    assert_eq!(next.sources[2].share, 0.01);
    let said: Vec<String> = next.bindings.iter().map(Binding::to_string).collect();
    assert!(said.iter().any(|line| line.starts_with("\"math\" is held down at a share of 0.0976")), "{said:?}");
    assert!(said.iter().any(|line| line == "\"old\" is held up by its floor, a share of 0.010000"), "{said:?}");
    let source = &mixed.file.sources[0];
    assert_eq!((source.max_repeat, source.q_prev, source.implied_repeat), (Some(4.0), Some(0.08), Some(repeat)));
    assert_eq!(source.paths, ["data/math"]);
    let mixture = Mixture::new(&mixed.file).unwrap();
    assert_eq!(mixture.stages().len(), 1);
    // What is given goes before what the file says.
    let rule = Rule { max_repeat: Some(3.5), ..rule };
    let again = update(&mixed.file, RUN, &[stage("next", 0, &values)], rule).unwrap();
    assert!((again.stages[0].sources[0].repeat.unwrap() - 3.5).abs() < 1e-3);
    assert_eq!(again.file.sources[0].max_repeat, Some(3.5));
}

#[test]
fn what_earlier_stages_see_counts_against_caps() {
    let mut previous = file(&[("math", 0.3, Some(4e8)), ("web", 0.7, None)]);
    let half = RUN.total_tokens / 2;
    previous.stages = vec![
        StageRecord {
            name: "warm".into(),
            start_tokens: 0.0,
            q: Shares(vec![("math".into(), 0.3), ("web".into(), 0.7)]),
        },
        StageRecord {
            name: "gone".into(),
            start_tokens: half as f64 + 4096.0,
            q: Shares(vec![("math".into(), 0.9), ("web".into(), 0.1)]),
        },
    ];
    previous.sources[0].q = 0.9;
    previous.sources[1].q = 0.1;
    let values = [("math", 1.0, 0.0), ("web", 0.0, 0.0)];
    let late = half + half / 2;
    let stages = [stage("second", half, &values), stage("third", late, &values)];
    let rule = Rule { limit: 3.0, ..Rule::default() };
    let mixed = update(&previous, RUN, &stages, rule).unwrap();
    // 0.3 of the first half was seen, 0.6144e9 of the 1.6e9 tokens that four passes give; the rest lasts to the end.
    let [second, third] = &mixed.stages[..] else { panic!("two stages") };
    assert_eq!((second.sources[0].before, second.sequences, third.sequences), (0.3, 250_000, 250_000));
    let cap = (1.6e9 - 0.3 * half as f64) / half as f64;
    for stage in [second, third] {
        assert!((stage.sources[0].share - cap).abs() < 1e-5, "{} {cap}", stage.sources[0].share);
        assert!(
            matches!(&stage.bindings[0], Binding::Repeats { source, .. } if source == "math"),
            "{:?}",
            stage.bindings
        );
    }
    let names: Vec<&str> = mixed.file.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["warm", "second", "third"]);
    let total = mixed.file.sources[0].implied_repeat.unwrap();
    assert!((total - 4.0).abs() < 1e-4 && total <= 4.0 + 1e-9, "{total}");
    Mixture::new(&mixed.file).unwrap();
}

#[test]
fn sources_without_a_share_stay_without() {
    let previous = file(&[("a", 0.5, None), ("new", 0.0, None), ("b", 0.5, None)]);
    let values = [("a", 0.0, 0.0), ("new", 9.0, 0.0), ("b", 1.0, 0.0)];
    let mixed = update(&previous, RUN, &[stage("next", 0, &values)], Rule::default()).unwrap();
    assert_eq!(mixed.stages[0].sources[1].share, 0.0);
    assert!(mixed.stages[0].bindings.contains(&Binding::Absent { source: "new".into() }));
}

fn refused(previous: &MixtureFile, run: Run, stages: &[StageUpdate], rule: Rule) -> String {
    update(previous, run, stages, rule).unwrap_err().to_string()
}

#[test]
fn mixtures_that_cannot_be_met_name_both_numbers() {
    let previous = file(&[("a", 0.1, Some(1e6)), ("b", 0.9, Some(1e8))]);
    let next = [stage("next", 0, &[("a", 1.0, 0.0), ("b", 0.0, 0.0)])];
    let text = refused(&previous, RUN, &next, Rule { floor: 0.6, ..Rule::default() });
    for wanted in [
        "source a: expected a floor within the repeat cap, found a floor of 0.6 and a cap of 9.766e-4: 1000000 tokens \
         may be seen 4 times, and 0 tokens are seen before",
        "source b: expected a floor within the repeat cap, found a floor of 0.6 and a cap of 9.766e-2",
        "floor: expected floors that sum to at most 1, found 2 sources with a floor of 0.6, together 1.2000",
        "max_repeat: expected sources with 4096000000 tokens for the rest of the run, found 404000000",
        "caps sum to 0.0986, not 1",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    let previous = file(&[("a", 0.1, None), ("b", 0.9, None)]);
    let text = refused(&previous, RUN, &next, Rule { floor: 0.4, ..Rule::default() });
    assert!(
        text.contains("within the trust limit of 0.1 nats, found that floors and repeat caps alone need 0.3112"),
        "{text}"
    );
    let few = Run { total_tokens: 4096 * 3, sequence_length: 4096 };
    let text = refused(&previous, few, &next, Rule { floor: 0.01, ..Rule::default() });
    assert!(text.contains("stage next: expected whole sequences within the trust limit of 0.1 nats"), "{text}");
    let third = file(&[("a", 0.2, None), ("b", 0.2, None), ("c", 0.2, None), ("d", 0.4, None)]);
    let values = [("a", 1.0, 0.0), ("b", 0.0, 0.0), ("c", 0.0, 0.0), ("d", 0.0, 0.0)];
    let text = refused(&third, few, &[stage("next", 0, &values)], Rule { floor: 0.01, ..Rule::default() });
    assert!(
        text.contains("that 3 whole sequences can meet, found that they need at least 4 and allow at most 12"),
        "{text}"
    );
}

#[test]
fn bad_input_is_refused_all_at_once() {
    let previous = file(&[("math", 0.5, None), ("web", 0.5, None)]);
    let mut bad = stage("", 5, &[("maths", 1.0, 0.0), ("web", f64::NAN, 0.0)]);
    bad.values.insert("more".into(), SourceValue { value: 0.0, error: -1.0 });
    let stages = [stage("late", RUN.total_tokens, &[("math", 1.0, -1.0), ("web", 0.0, f64::INFINITY)]), bad];
    let rule = Rule { limit: 0.0, floor: f64::NAN, max_repeat: Some(0.0), seed: 0 };
    let text = refused(&previous, RUN, &stages, rule);
    for wanted in [
        "limit: expected a trust limit above 0, found 0",
        "floor: expected a share from 0 to 1, found NaN",
        "max_repeat: expected a number above 0, found 0",
        "stage late: expected a start from 0 to a sequence before 4096000000 tokens, found 4096000000",
        "expected a value of \"math\" and an error of at least 0, found 1 with an error of -1",
        "found 0 with an error of inf",
        "expected a name, found an empty one",
        "expected a start from 4096000001",
        "expected a value for each source, found none for \"math\"",
        "found one of \"maths\"; did you mean \"math\"?",
        "found NaN with an error of 0",
        "found one of \"more\"",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    let twice = stage("all", 4096, &[("math", 0.0, 0.0), ("web", 0.0, 0.0)]);
    let text = refused(&previous, RUN, &[twice], Rule::default());
    assert!(text.contains("stage all: expected each stage's name once, found \"all\" again"), "{text}");
    let text = refused(&previous, RUN, &[], Rule::default());
    assert!(text.contains("at least one new stage"), "{text}");
    let mut odd = previous.clone();
    odd.sources[0].available_tokens = Some(f64::NAN);
    let values = BTreeMap::from(["math", "web"].map(|name| (name.to_owned(), SourceValue::default())));
    let text = refused(&odd, RUN, &[StageUpdate { name: "s".into(), start_tokens: 0, values }], Rule::default());
    assert!(text.contains("sources[0] (math), available_tokens: expected a number of tokens"), "{text}");
}

#[test]
fn sizes_come_from_the_file_or_are_given() {
    let mut file = file(&[("a", 1.0, None)]);
    assert_eq!(Run::of(&file, None, None).unwrap_err().diagnostics().len(), 2);
    file.total_tokens = Some(1e6);
    file.sequence_length = Some(128);
    assert_eq!(Run::of(&file, None, None).unwrap(), Run { total_tokens: 1_000_000, sequence_length: 128 });
    assert_eq!(Run::of(&file, Some(500), Some(50)).unwrap(), Run { total_tokens: 500, sequence_length: 50 });
    assert!(Run::of(&file, Some(5), None).unwrap_err().to_string().contains("at least one sequence of 128 tokens"));
    file.total_tokens = Some(f64::INFINITY);
    assert!(Run::of(&file, None, None).is_err());
    let only = update(
        &file,
        Run { total_tokens: 1000, sequence_length: 10 },
        &[stage("s", 0, &[("a", 1.0, 0.1)])],
        Rule::default(),
    );
    assert_eq!(only.unwrap().stages[0].sources[0].share, 1.0);
}

#[test]
fn a_thousand_sources_take_no_time() {
    let names: Vec<String> = (0..1000).map(|number| format!("s{number}")).collect();
    let sources: Vec<(&str, f64, Option<f64>)> = names.iter().map(|name| (name.as_str(), 1e-3, Some(1.2e6))).collect();
    let values: Vec<(&str, f64, f64)> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), (number % 37) as f64, 1.0)).collect();
    let start = crate::ctx::seconds();
    let rule = Rule { floor: 1e-4, ..Rule::default() };
    let mixed = update(&file(&sources), RUN, &[stage("next", 0, &values)], rule).unwrap();
    assert!(mixed.stages[0].bindings.len() > 100);
    let seconds = crate::ctx::seconds() - start;
    // On a machine that others use; alone it is a third.
    assert!(seconds < 3.0, "{seconds} s");
}
