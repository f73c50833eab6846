//! What a plain scalar means: the rules of YAML 1.1 as PyYAML has them, by which task files are written.
//!
//! They differ from YAML 1.2 where it hurts: `no` and `on` are truth values, `1e-3` is a text, `010` is eight, `1:30` is
//! ninety.

use super::yaml::Value;

/// The value of a scalar without quotes.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Flag(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Value::Flag(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Value::Text(text.to_owned());
    }
    integer(text).or_else(|| float(text)).or_else(|| date(text)).unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn signed(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Binary, hexadecimal, octal with a leading zero, decimal, or parts of sixty.
fn integer(text: &str) -> Option<Value> {
    let (sign, body) = signed(text);
    let from_one = |body: &str| body.starts_with(|c: char| ('1'..='9').contains(&c));
    let magnitude = if let Some(body) = body.strip_prefix("0b") {
        digits(body, 2)?
    } else if let Some(body) = body.strip_prefix("0x") {
        digits(body, 16)?
    } else if body == "0" {
        0
    } else if let Some(body) = body.strip_prefix('0') {
        digits(body, 8)?
    } else if let Some((first, rest)) = body.split_once(':').filter(|_| from_one(body)) {
        sixties(digits(first, 10)?, rest)?
    } else {
        digits(body, 10).filter(|_| from_one(body))?
    };
    let fitting = i64::try_from(sign.saturating_mul(magnitude)).ok();
    Some(fitting.map_or(Value::Other("a too large whole number"), Value::Integer))
}

/// Digits with underscores anywhere; a number that is too large for all uses is the largest there is.
fn digits(body: &str, radix: u32) -> Option<i128> {
    let valid = body.chars().any(|c| c != '_') && body.chars().all(|c| c == '_' || c.is_digit(radix));
    valid.then(|| i128::from_str_radix(&body.replace('_', ""), radix).unwrap_or(i128::MAX))
}

/// `1:30` is ninety: further parts count sixtieths, each of one or two digits below sixty.
fn sixties(first: i128, rest: &str) -> Option<i128> {
    rest.split(':').try_fold(first, |total, part| {
        let short = (1..=2).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
        let value: i128 = part.parse().ok().filter(|value| short && *value < 60)?;
        Some(total.saturating_mul(60).saturating_add(value))
    })
}

/// A number with a point; an exponent needs a point before it and a sign.
fn float(text: &str) -> Option<Value> {
    let (sign, body) = signed(text);
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(Value::Other("a number that is not finite")),
        ".nan" | ".NaN" | ".NAN" if text == body => return Some(Value::Other("a number that is not finite")),
        _ => {}
    }
    let (whole, rest) = body.split_once('.')?;
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit() || c == '_');
    let exponent_valid = exponent.is_none_or(|exponent| {
        exponent.strip_prefix(['+', '-']).is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_digit()))
    });
    let whole_valid = if whole.is_empty() {
        text == body && fraction.starts_with(|c: char| c.is_ascii_digit())
    } else {
        whole.starts_with(|c: char| c.is_ascii_digit())
    };
    if !(digits(whole) && digits(fraction) && exponent_valid && whole_valid) {
        return None;
    }
    let number: f64 = format!("0{}", body.replace('_', "")).parse().ok()?;
    Some(Value::Float(sign as f64 * number))
}

fn date(text: &str) -> Option<Value> {
    let numeric =
        |range: std::ops::Range<usize>| text.get(range).is_some_and(|p| p.chars().all(|c| c.is_ascii_digit()));
    let bytes = text.as_bytes();
    let short = text.len() == 10 && numeric(0..4) && numeric(5..7) && numeric(8..10);
    (short && bytes[4] == b'-' && bytes[7] == b'-').then_some(Value::Other("a date"))
}
