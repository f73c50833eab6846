//! Templates as expressions.

use proptest::prelude::*;

use super::code::{Shape, operand, shape};
use super::template::{calls, code, expression, is_name, list_of_texts, quote};
use crate::suite::{Expression, Jinja, Template};

fn row() -> serde_json::Map<String, serde_json::Value> {
    let row = serde_json::json!({"a": "x'y", "n": 3, "empty": null, "list": ["p", "q"], "label": "2", "yes": true});
    row.as_object().unwrap().clone()
}

/// The value of the expression, as a text; it must be what the template prints.
fn same(template: &str) -> String {
    let code = expression(template).unwrap_or_else(|e| panic!("{template}: {e}"));
    let jinja = Jinja::new();
    let value = jinja.evaluate(&Expression::new(&code).unwrap(), &row()).unwrap_or_else(|e| panic!("{code}: {e}"));
    let printed = jinja.render(&Template::new(template).unwrap(), &row()).unwrap();
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    assert_eq!(text, printed, "{template} as {code}");
    code
}

#[test]
fn an_expression_has_the_value_that_a_template_prints() {
    assert_eq!(same("{{ n }}"), "n");
    assert_eq!(same("plain\ttext\\"), r"'plain\ttext\\'");
    assert_eq!(same("{{a}}"), "a");
    assert_eq!(same("it's {{ a }}!\n"), r"'it\'s ' ~ a ~ '!\n'");
    assert_eq!(same("{{ n + 1 }} of {{ list|length }}"), "(n + 1) ~ ' of ' ~ (list|length)");
    assert_eq!(same("{% if n == 3 %}three{% else %}{{ n }}{% endif %}"), "'three' if (n == 3) else n");
    assert_eq!(
        same("{% if n > 5 %}A{% elif n > 2 %}B{{ n }}{% endif %}."),
        "('A' if (n > 5) else (('B' ~ n) if (n > 2) else '')) ~ '.'"
    );
    assert_eq!(
        same("{% if empty is not none %}{{a[1:]}}{% else %}{{n|string}}{%endif %}"),
        "a[1:] if (empty is not none) else (n|string)"
    );
    assert_eq!(same("x  {{- a -}}  y {#- gone -#} z"), "'x' ~ a ~ 'y' ~ 'z'");
    assert_eq!(same("{{ {'k': {'}}': 1}}['k']|length }}"), "{'k': {'}}': 1}}['k']|length");
    assert_eq!(same(""), "''");
    for (template, reason) in [
        ("{% set x = 1 %}{{ x }}", "set x = 1"),
        ("{% for x in list %}{{ x }}{% endfor %}", "for x in list"),
        ("{{ a", "without its end"),
        ("{% if a %}b", "without `{% endif %}`"),
        ("{% endif %}", "without its beginning"),
        ("{% if a %}b{% else %}c{% elif d %}e{% endif %}", "without `{% endif %}`"),
    ] {
        let error = expression(template).unwrap_err();
        assert!(error.contains(reason), "{template}: {error}");
    }
}

#[test]
fn texts_that_print_lists_are_lists() {
    let list = |template: &str| list_of_texts(template);
    assert_eq!(list("['{{a}} is', \"\"\"x'y\"\"\" ,]").unwrap(), r"[a ~ ' is', 'x\'y']");
    assert_eq!(list(r#" ["{{ n + 1 }}\n", 'a\'b'] "#).unwrap(), r"[(n + 1) ~ '\n', 'a\'b']");
    assert_eq!(list("['', '{{a}}']").unwrap(), "['', a]");
    for none in ["{{ [a, b] }}", "['a' 'b']", "['a', b]", "['a'", "('a', 'b')", "['a']x", "", "[{{a}}]", "['a'],['b']"]
    {
        assert_eq!(list(none), None, "{none}");
    }
}

#[test]
fn shapes_are_what_values_must_be() {
    for code in [
        "3",
        "n - 1",
        "(label|int) - 1",
        "label|int",
        "list|length",
        "['a', 'b'].index(a)",
        "'ABC'.find(a)",
        "0 if a == 'x' else 1",
        "((n|int))",
        "choices.label.index(a.lstrip())",
        "a|int - 1",
    ] {
        assert_eq!(shape(code), Shape::Integer, "{code}");
    }
    for code in ["'yes'", "['a', 'b'][n]", "'a' if n else 'b'"] {
        assert_eq!(shape(code), Shape::Text, "{code}");
    }
    for code in [
        "n",
        "a.b",
        "'3'",
        "['1', '2'][n]",
        "a ~ n|int",
        "a[n - 1]",
        "0 if n else 'x'",
        "a.find('x') ~ ''",
        "a if n else 3",
        "x == 'if' - 1",
        "list.index",
        "n / 2",
        "[a, 'b'][n]",
        "a.split('-')[0]",
    ] {
        assert_eq!(shape(code), Shape::Unknown, "{code}");
    }
}

#[test]
fn operands_are_closed() {
    for closed in ["a", "a.b[c + 1].d('x y')", "'a b'", "[a, b]", "(a + b)", "3"] {
        assert_eq!(operand(closed), closed);
    }
    for open in ["a + b", "a if b else c", "a|int", "not a", "-1", "a ~ b", "a b"] {
        assert_eq!(operand(open), format!("({open})"));
    }
}

#[test]
fn calls_are_found() {
    let (filters, methods) = calls("a.strip()|lower|replace('|no', \".neither()\") if loop.cycle(x.y) else b.c");
    assert_eq!((filters.join(" "), methods.join(" ")), ("lower replace".to_owned(), "strip".to_owned()));
    assert!(is_name("größe_2") && !is_name("2a") && !is_name("a b") && !is_name(""));
    assert_eq!(quote("a\r\n'\\"), r"'a\r\n\'\\'");
}

proptest! {
    /// Whatever stands in a template, there is an answer.
    #[test]
    fn any_template_has_an_answer(text in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|if |else|endif|[-+a-c0-9'\"\\\\()\\[\\]|~., \u{e9}\u{1f600}]){0,40}") {
        let _ = (expression(&text), list_of_texts(&text), shape(&text), operand(&text), calls(&text));
        for code in code(&text) {
            let _ = (shape(&code), operand(&code), calls(&code));
        }
    }

    /// A quoted text is that text.
    #[test]
    fn quotes_hold_any_text(text in any::<String>()) {
        let value = Jinja::new().evaluate(&Expression::new(&quote(&text)).unwrap(), &row()).unwrap();
        prop_assert_eq!(value.as_str(), Some(text.as_str()));
    }
}
