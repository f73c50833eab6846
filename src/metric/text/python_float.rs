//! Python's `float(text)` and `str(number)`, on which normalisers of numbers lean.

use crate::util::python::strip;

/// The zeros of all scripts other than ASCII; each is followed by its nine other digits (Unicode 14, as in Python 3.11).
const ZEROS: &str = "\u{660}\u{6f0}\u{7c0}\u{966}\u{9e6}\u{a66}\u{ae6}\u{b66}\u{be6}\u{c66}\u{ce6}\u{d66}\u{de6}\u{e50}\
    \u{ed0}\u{f20}\u{1040}\u{1090}\u{17e0}\u{1810}\u{1946}\u{19d0}\u{1a80}\u{1a90}\u{1b50}\u{1bb0}\
    \u{1c40}\u{1c50}\u{a620}\u{a8d0}\u{a900}\u{a9d0}\u{a9f0}\u{aa50}\u{abf0}\u{ff10}\u{104a0}\u{10d30}\
    \u{11066}\u{110f0}\u{11136}\u{111d0}\u{112f0}\u{11450}\u{114d0}\u{11650}\u{116c0}\u{11730}\u{118e0}\
    \u{11950}\u{11c50}\u{11d50}\u{11da0}\u{16a60}\u{16ac0}\u{16b50}\u{1d7ce}\u{1d7d8}\u{1d7e2}\u{1d7ec}\
    \u{1d7f6}\u{1e140}\u{1e2f0}\u{1e950}\u{1fbf0}";

/// `float(text)`, or `None` where Python raises. Digits of any script are digits.
pub(super) fn parse(text: &str) -> Option<f64> {
    let text: String = strip(text).chars().map(ascii_digit).collect();
    // Rust has no underscores in numbers; Python has them between digits only.
    let bytes = text.as_bytes();
    let digit = |index: Option<usize>| index.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let lonely =
        |(index, &byte): (usize, &u8)| byte == b'_' && !(digit(index.checked_sub(1)) && digit(Some(index + 1)));
    if bytes.iter().enumerate().any(lonely) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn ascii_digit(c: char) -> char {
    let above = |zero: char| (c as u32).checked_sub(zero as u32).filter(|digit| *digit < 10);
    let digit = ZEROS.chars().find_map(above).filter(|_| !c.is_ascii());
    digit.and_then(|digit| char::from_digit(digit, 10)).unwrap_or(c)
}

/// `str(number)`: the shortest digits that read back as the same number; with an exponent from 1e16 and below 1e-4.
pub(super) fn show(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() {
        return if number.is_nan() { "nan".to_owned() } else { number.to_string() };
    }
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_reads_and_writes() {
        for (text, shown) in [
            ("4", "4.0"),
            ("1e3", "1000.0"),
            (" .5 ", "0.5"),
            ("1_000", "1000.0"),
            ("-0", "-0.0"),
            ("1e16", "1e+16"),
            ("0.00001", "1e-05"),
            ("123456789012345680", "1.2345678901234568e+17"),
            ("inf", "inf"),
            ("-Infinity", "-inf"),
            ("NaN", "nan"),
            ("0.1", "0.1"),
            ("-١٢.٥", "-12.5"),
            ("9007199254740993", "9007199254740992.0"),
        ] {
            assert_eq!(show(parse(text).unwrap()), shown, "{text}");
        }
        for text in ["", "a", "1__0", "_1", "1_", "1,000", "0x10", "1 2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
