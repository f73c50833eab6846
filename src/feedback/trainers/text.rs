//! Values written so that every reader reads them back: strings for YAML, JSON and Python, numbers without exponents.

/// A string in double quotes that YAML, JSON and Python read alike. Whatever a YAML reader does not take as it is,
/// and whatever ends a line somewhere, is escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut found = String::with_capacity(text.len() + 2);
    found.push('"');
    for c in text.chars() {
        match c {
            '"' => found.push_str("\\\""),
            '\\' => found.push_str("\\\\"),
            '\n' => found.push_str("\\n"),
            '\t' => found.push_str("\\t"),
            '\r' => found.push_str("\\r"),
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                found += &format!("\\u{:04x}", c as u32);
            }
            _ => found.push(c),
        }
    }
    found.push('"');
    found
}

/// A number with ten significant digits, always with a point and never with an exponent: YAML 1.1 takes `1e-5` for
/// text.
pub(super) fn decimal(number: f64) -> String {
    if number == 0.0 {
        return "0.0".to_owned();
    }
    let places = (9 - number.abs().log10().floor() as i32).clamp(1, 300) as usize;
    let text = format!("{number:.places$}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// A number with all its digits, with a point and without an exponent.
pub(super) fn exact(number: f64) -> String {
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_exponents() {
        let cases =
            [(0.17, "0.17"), (1.0, "1.0"), (1e-12 / 3.0, "0.0000000000003333333333"), (12.5, "12.5"), (0.0, "0.0")];
        for (number, text) in cases {
            assert_eq!(decimal(number), text);
        }
        assert_eq!((decimal(0.1 + 0.2), exact(0.1 + 0.2)), ("0.3".into(), "0.30000000000000004".into()));
        assert_eq!((exact(1e-9), exact(1.0)), ("0.000000001".into(), "1.0".into()));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_string_is_read_back(text in ".*", odd in "[\\x00-\\x20\"\\\\\\x7f-\\xa0]*", number in 1e-30..1e12f64) {
            for text in [text, odd] {
                let written = quoted(&text);
                proptest::prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
                proptest::prop_assert!(written.lines().count() == 1);
            }
            let read: f64 = decimal(number).parse().unwrap();
            proptest::prop_assert!((read / number - 1.0).abs() <= 5.01e-10 || number >= 1e8);
        }
    }

    #[test]
    fn strings_are_read_back() {
        let hostile = "a\"b\\c\nd\te\r\u{0}\u{85}\u{2028}: - {x} #é日\u{1F600}";
        assert_eq!(serde_json::from_str::<String>(&quoted(hostile)).unwrap(), hostile);
        assert_eq!(quoted("a\u{85}"), "\"a\\u0085\"");
    }
}
