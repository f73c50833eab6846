//! YAML: what PyYAML reads, and hostile files.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::scalar::resolve;
use super::yaml::{Node, Parsed, SourceFile, Value, parse};

fn tree(text: &str) -> crate::Result<Parsed> {
    parse(&Arc::new(SourceFile { path: "t.yaml".into(), text: text.into() }))
}

fn root(text: &str) -> Arc<Node> {
    tree(text).unwrap_or_else(|e| panic!("{e}")).root
}

fn refusal(text: &str) -> String {
    match tree(text) {
        Ok(_) => panic!("accepted: {text:.80?}"),
        Err(error) => error.to_string(),
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", resolve(text))
}

#[test]
fn plain_scalars_are_those_of_yaml_1_1() {
    // PyYAML 6.0: each text and what `yaml.safe_load` makes of it.
    for (text, value) in [
        ("no", "Flag(false)"),
        ("On", "Flag(true)"),
        ("y", "Text(\"y\")"),
        ("nO", "Text(\"nO\")"),
        ("~", "Null"),
        ("", "Null"),
        ("NULL", "Null"),
        ("7", "Integer(7)"),
        ("-12", "Integer(-12)"),
        ("010", "Integer(8)"),
        ("08", "Text(\"08\")"),
        ("0x1F", "Integer(31)"),
        ("0b11", "Integer(3)"),
        ("1_000", "Integer(1000)"),
        ("1:30", "Integer(90)"),
        ("1:60", "Text(\"1:60\")"),
        ("1.0", "Float(1.0)"),
        ("-.5", "Text(\"-.5\")"),
        (".5", "Float(0.5)"),
        ("1.", "Float(1.0)"),
        ("1e3", "Text(\"1e3\")"),
        ("1e-3", "Text(\"1e-3\")"),
        ("1.5e+3", "Float(1500.0)"),
        ("1.5e3", "Text(\"1.5e3\")"),
        (".inf", "Other(\"a number that is not finite\")"),
        ("2026-01-31", "Other(\"a date\")"),
        ("99999999999999999999", "Other(\"a too large whole number\")"),
        ("0o7", "Text(\"0o7\")"),
        ("- ", "Text(\"- \")"),
        ("+", "Text(\"+\")"),
        ("1.2.3", "Text(\"1.2.3\")"),
    ] {
        assert_eq!(shown(text), value, "{text:?}");
    }
}

#[test]
fn styles_and_tags_say_what_a_scalar_is() {
    let node = root(
        "a: 'no'\nb: !!str 12\nc: |\n  x\n  y\nd: >-\n  x\n  y\ne: \"t\\tu\"\nf: !function utils.f\ng: !!int '3'\n",
    );
    let value = |key: &str| format!("{:?}", node.get(key).unwrap().value);
    assert_eq!(value("a"), "Text(\"no\")");
    assert_eq!(value("b"), "Text(\"12\")");
    assert_eq!(value("c"), "Text(\"x\\ny\\n\")");
    assert_eq!(value("d"), "Text(\"x y\")");
    assert_eq!(value("e"), "Text(\"t\\tu\")");
    assert_eq!(value("f"), "Function(\"utils.f\")");
    assert_eq!(value("g"), "Integer(3)");
}

#[test]
fn anchors_and_merges_are_followed() {
    let node = root("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nboth: {<<: [{z: 1}, *b]}\nagain: *b\n");
    assert_eq!(node.get("own").unwrap().json().unwrap().to_string(), r#"{"y":3,"x":1}"#);
    assert_eq!(node.get("both").unwrap().json().unwrap().to_string(), r#"{"z":1,"x":1,"y":2}"#);
    assert_eq!(node.get("again").unwrap().json().unwrap().to_string(), r#"{"x":1,"y":2}"#);
    assert!(refusal("a: {<<: 3}").contains("`<<`: expected a mapping, found a whole number"));
}

#[test]
fn a_key_twice_is_told() {
    let Parsed { root, notes } = tree("a: 1\nb: 2\na: 3\n").unwrap();
    assert_eq!(root.json().unwrap().to_string(), r#"{"a":3,"b":2}"#);
    assert_eq!(
        notes[0].to_string(),
        "t.yaml:3:1: the key `a` is there twice; the last one counts\n  help: take one of them out"
    );
}

#[test]
fn tags_make_nothing() {
    for text in
        ["!!python/object/apply:os.system ['true']", "a: !!python/name:os.system ''", "a: !mine x", "!function [a]"]
    {
        assert!(refusal(text).contains("expected no tag but `!function`"), "{}", refusal(text));
    }
}

#[test]
fn places_count_characters_and_end_with_the_line() {
    let node = root("ä: ü\nlist:\n  - 'x'\n  - |\n    long\n    text\n");
    let place = |node: &Node| node.problem("here").place.unwrap();
    assert_eq!(place(node.get("list").unwrap().items()[0]).line_column(), Some((3, 5)));
    let span = place(&node).span.unwrap();
    assert_eq!(span, 0.."ä: ü".len());
}

#[test]
fn laughs_and_depths_are_bounded() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let of = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", [of.as_str(); 10].join(", "));
    }
    assert!(refusal(&laughs).contains("aliases counted"));
    assert!(refusal("a: &a [1, *a]").contains("one inside it"));
    let began = Instant::now();
    for text in [
        "[".repeat(300_000),
        "{a: ".repeat(200_000),
        "- ".repeat(200_000),
        "? ".repeat(200_000),
        "a:\n ".repeat(100_000),
        format!("a: '{}", "x".repeat(900_000)),
        "&a ".repeat(100_000),
        "!!str ".repeat(100_000),
        "%TAG ! x\n".repeat(50_000),
        "a: b: c".to_owned(),
        "a:\n\tb: 1\n\tc: 2\n".to_owned(),
        "a: [1, 2".to_owned(),
        "a: *nobody".to_owned(),
        "a: \"\\ud800\"".to_owned(),
        "a: 1\n---\nb: 2\n".to_owned(),
        "? [a, b]\n: c\n".to_owned(),
        "[]: 1".to_owned(),
        String::new(),
        (0..40_000).map(|i| format!("k{i}: 1")).collect::<Vec<_>>().join("\n"),
    ] {
        let message = refusal(&text);
        assert!(message.starts_with("t.yaml"), "{message:.200}");
    }
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_large_text_is_a_text() {
    let text = format!("a: |\n  {}\n", "x".repeat(900_000));
    let node = root(&text);
    assert!(matches!(&node.get("a").unwrap().value, Value::Text(text) if text.len() == 900_001));
}

proptest! {
    /// Whatever stands in a file, there is a tree or an error.
    #[test]
    fn any_text_is_read_or_refused(text in "[-a-c0-9:?,{}\\[\\]&*!|>'\"%#@~ \t\r\n\u{e9}\u{1f600}]{0,120}") {
        let _ = tree(&text);
    }
}
