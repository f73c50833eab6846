//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` stand where numbers do.
//!
//! They are put into quotation marks before the text goes to the JSON parser; [`number`] knows them again. Depth is
//! bounded by the parser (128).

use std::borrow::Cow;

use serde_json::Value;

/// The names of the three, longest first where one begins another's text.
const NAMES: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses a document. The message of an error has line and column; columns behind a NaN in a line are two too far.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(&quoted(text)).map_err(|e| e.to_string())
}

/// A number, one of the three names included.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(name) if NAMES.contains(&name.as_str()) => name.parse().ok(),
        other => other.as_f64(),
    }
}

fn quoted(text: &str) -> Cow<'_, str> {
    if !NAMES[1..].iter().any(|name| text.contains(name)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(found) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(found);
        out.push_str(before);
        let taken = match NAMES.iter().find(|name| from.starts_with(**name)) {
            _ if from.starts_with('"') => {
                let end = end_of_string(from);
                out.push_str(&from[..end]);
                end
            }
            Some(name) => {
                out.push_str(&format!("\"{name}\""));
                name.len()
            }
            None => {
                out.push_str(&from[..1]);
                1
            }
        };
        rest = &from[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Bytes of the string that begins here, both marks included; all that is left where it does not end.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_names_are_numbers() {
        let text = r#"{"a": NaN, "b": [Infinity,-Infinity, -1.5], "NaN": "a \" NaN: Infinity", "c": "\\"}"#;
        let value = parse(text).unwrap();
        assert!(number(&value["a"]).unwrap().is_nan());
        assert_eq!(number(&value["b"][0]), Some(f64::INFINITY));
        assert_eq!(number(&value["b"][1]), Some(f64::NEG_INFINITY));
        assert_eq!(number(&value["b"][2]), Some(-1.5));
        assert_eq!(value["NaN"], "a \" NaN: Infinity");
        assert_eq!(number(&value["c"]), None);
    }

    #[test]
    fn broken_texts_are_refused() {
        for text in ["", "{\"a\": NaN", "{\"a\": NaNa}", "[1NaN]", "\"NaN", "{\"a\": nan}", "[--Infinity]", "\\NaN"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("recursion"));
        assert!(parse(&format!("NaN{}", "[".repeat(1000))).is_err());
    }

    proptest! {
        /// JSON without the names means the same before and after.
        #[test]
        fn other_json_is_untouched(texts in prop::collection::vec(".*", 0..5), numbers in prop::collection::vec(any::<i64>(), 0..5)) {
            let value = serde_json::json!({"t": texts, "n": numbers, "NaN": null});
            prop_assert_eq!(parse(&value.to_string()).unwrap(), value);
        }

        #[test]
        fn nothing_panics(text in "[\"\\\\NaInfty{}:, -]{0,40}") {
            let _ = parse(&text);
        }
    }
}
