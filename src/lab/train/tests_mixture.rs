//! Mixtures that hold, and hostile ones.

use super::*;

const GOOD: &str = r#"{"format": "veval.mixture/1", "unit": "tokens", "total_tokens": 3e7, "sequence_length": 256,
 "sources": [{"name": "math", "available_tokens": 4e5, "documents": 9, "q_prev": 0.1, "q": 0.25, "max_repeat": 20.0},
             {"name": "stories", "paths": ["a", "b"], "q": 0.75, "value": -0.5, "value_se": 0.1}],
 "stages": [{"name": "first", "start_tokens": 0, "q": {"stories": 0.9, "math": 0.1}},
            {"name": "then", "start_tokens": 20000000, "q": {"math": 0.25, "stories": 0.75}}],
 "trust": {"kl_to_prev": 0.05, "limit": 0.1}, "floor": 0.005}"#;

fn parse(text: &str) -> Result<Mixture> {
    Mixture::new(&MixtureFile::parse(text)?)
}

/// The messages of a file that is refused.
fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().diagnostics().iter().map(ToString::to_string).collect()
}

#[test]
fn a_staged_mixture_is_read_and_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixture.json");
    std::fs::write(&path, GOOD).unwrap();
    let mixture = Mixture::read(&path).unwrap();
    assert_eq!(mixture.sources()[0], MixtureSource { name: "math".into(), max_repeat: Some(20.0) });
    let stages: Vec<(&str, u64, &[f64])> =
        mixture.stages().iter().map(|stage| (stage.name.as_str(), stage.start_tokens, &stage.shares[..])).collect();
    assert_eq!(stages, [("first", 0, &[0.1, 0.9][..]), ("then", 20_000_000, &[0.25, 0.75])]);

    mixture.to_file().write(&path).unwrap();
    assert_eq!(Mixture::read(&path).unwrap(), mixture);
    let whole = MixtureFile::parse(GOOD).unwrap();
    whole.write(&path).unwrap();
    assert_eq!(MixtureFile::read(&path).unwrap(), whole, "what only readers need is kept");
}

#[test]
fn the_natural_mixture_and_one_without_stages() {
    let natural = Mixture::natural(&[("a", 300), ("b", 0), ("c", 100)]).unwrap();
    assert_eq!(natural.stages().len(), 1);
    assert_eq!(natural.stages()[0].shares, [0.75, 0.0, 0.25]);
    assert!(Mixture::natural(&[("a", 0)]).is_err() && Mixture::natural(&[]).is_err());
    assert!(Mixture::natural(&[("a", 1), ("a", 1)]).unwrap_err().to_string().contains("\"a\" again"));

    let thirds = r#"{"format": "veval.mixture/1", "unit": "tokens", "sources": [{"name": "a", "q": 0.3333333},
        {"name": "b", "q": 0.3333333}, {"name": "c", "q": 0.3333333}]}"#;
    let shares = parse(thirds).unwrap().stages()[0].shares.clone();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-15, "what rounding left is shared out: {shares:?}");
}

#[test]
fn sources_come_in_the_order_of_the_corpus() {
    let mixture = parse(GOOD).unwrap().in_order_of(&["stories", "math"]).unwrap();
    assert_eq!(mixture.sources()[0].name, "stories");
    assert_eq!((&mixture.stages()[0].shares[..], mixture.sources()[1].max_repeat), (&[0.9, 0.1][..], Some(20.0)));
    let error = parse(GOOD).unwrap().in_order_of(&["storys", "math", "web"]).unwrap_err().to_string();
    assert!(error.contains("none for \"storys\"") && error.contains("none for \"web\""), "{error}");
    assert!(error.contains("unknown source \"stories\"\n  help: did you mean \"storys\"?"), "{error}");
}

#[test]
fn every_problem_is_found_at_its_place() {
    let text = r#"{"format": "veval.mixture/1", "unit": "documents", "total_tokens": 1000,
      "sources": [{"name": "a", "q": 0.5, "max_repeat": 0}, {"name": "", "q": 0.4}, {"name": "a", "q": 0.2}],
      "stages": [{"name": "s", "start_tokens": 5, "q": {"a": -0.5, "": 1.5}},
                 {"name": "s", "start_tokens": 5, "q": {"a": 0.5, "a": 0.5, "b": 0}},
                 {"name": "u", "start_tokens": 2.5, "q": {"a": 0.5, "": 0.25}},
                 {"name": "v", "start_tokens": 1000, "q": {"a": 0.5, "": 0.5}}]}"#;
    let found = problems(text);
    let wanted = [
        "unit: expected shares of \"tokens\", found \"documents\"",
        "sources[0] (a), max_repeat: expected a number above 0, found 0",
        "sources[1]: expected a name",
        "sources[2]: expected each source once, found \"a\" again",
        "sources, q: expected shares that sum to 1, found a sum of 1.1",
        "stages[0] (s), start_tokens: expected the first stage to start at 0, found 5",
        "stages[0] (s), q of a: expected a share from 0 to 1, found -0.5",
        "stages[1] (s): expected each name once, found \"s\" again",
        "stages[1] (s), start_tokens: expected a start after the stage before (5), found 5",
        "stages[1] (s), q: expected each source once, found \"a\" again",
        "stages[1] (s), q: unknown source \"b\"",
        "stages[1] (s), q: expected a share for each source, found none for \"\"",
        "stages[2] (u), start_tokens: expected a whole number of tokens, found 2.5",
        "stages[2] (u), q: expected shares that sum to 1, found a sum of 0.75",
        "stages[3] (v), start_tokens: expected a start before the end of the run (1000), found 1000",
    ];
    for wanted in wanted {
        assert!(found.iter().any(|problem| problem.starts_with(wanted)), "{wanted:?} is not in {found:#?}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

#[test]
fn the_sum_may_be_off_by_a_millionth_and_no_more() {
    let text = |q: &str| {
        format!(
            r#"{{"format": "veval.mixture/1", "unit": "tokens", "sources": [{{"name": "a", "q": 0.5}}, {{"name": "b", "q": {q}}}]}}"#
        )
    };
    assert!(parse(&text("0.5000009")).is_ok());
    assert_eq!(problems(&text("0.500002")), ["sources, q: expected shares that sum to 1, found a sum of 1.000002"]);
}

#[test]
fn numbers_that_are_none_are_refused() {
    let mut file = MixtureFile::parse(GOOD).unwrap();
    file.sources[0].q = f64::NAN;
    file.sources[1].max_repeat = Some(f64::INFINITY);
    file.stages[1].start_tokens = f64::NAN;
    file.stages[1].q.0[0].1 = f64::INFINITY;
    let error = Mixture::new(&file).unwrap_err();
    assert_eq!(error.diagnostics().len(), 4, "{error}");
}

#[test]
fn other_files_are_refused() {
    let cases = [
        ("", "expected a mixture"),
        ("[]", "expected a mixture"),
        (r#"{"format": "veval.mixture/2", "sauces": 3}"#, "expected the format veval.mixture/1, found"),
        (r#"{"format": "veval.mixture/1", "unit": "tokens"}"#, "missing field `sources`"),
        (r#"{"format": "veval.mixture/1", "unit": "tokens", "sources": [], "stage": []}"#, "unknown field `stage`"),
        (r#"{"format": "veval.mixture/1", "unit": "tokens", "sources": [{"name": "a", "q": NaN}]}"#, "line 1"),
        (r#"{"format": "veval.mixture/1", "unit": "tokens", "sources": [{"name": "a", "q": 1e999}]}"#, "out of range"),
        (r#"{"format": "veval.mixture/1", "unit": "tokens", "sources": []}"#, "expected at least one source"),
    ];
    for (text, wanted) in cases {
        let found = problems(text);
        assert!(found[0].contains(wanted), "{text}: {found:?}");
    }
    let deep = format!("{}{}", r#"{"format":"#, "[".repeat(100_000));
    assert!(parse(&deep).is_err(), "nesting is bounded");
    let missing = Mixture::read(Path::new("/nowhere/mixture.json")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/mixture.json"));
}
