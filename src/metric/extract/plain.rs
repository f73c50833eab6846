//! Numbers and arithmetic in running text: `1,234.5`, `$3`, `20%`, `3/4`, `2*(3+1)`. Digits are ASCII.

use fancy_regex::Captures;

use super::algebra::Answer;
use super::letter::END;
use super::parse;
use super::search::{Finding, Pattern, Reading};

const CURRENCIES: &str = r"\$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";

const NUMBER: &str = concat!(
    r"(?:(?P<integer1>-?[0-9]{1,3}(?:[ ,][0-9]{3})+)(?P<decimal1>\.[0-9]+)?",
    r"|(?P<integer2>-?[0-9]+)(?P<decimal2>[.,][0-9]+)",
    r"|(?P<decimal3>\.[0-9]+)",
    r"|(?P<integer3>-?[0-9]+))",
    r"(?P<percent>\s*(?:%|[Pp]ercent|\s*[Pp]ercentage|\s*[Pp]ct))?",
);

/// A digit, at least one operator, and what may stand around them.
const EXPRESSION: &str = r"(?P<expression>-?\(?-?[0-9][0-9.\s+\-*×/^()÷]*[+\-*×/^()÷][0-9.\s+\-*×/^()÷]+\)?)";

pub(super) fn patterns() -> Vec<Pattern> {
    let before = r"(?:^|\s|=)(?:\*\*)?";
    let after = format!(r"(?:\*\*)?(?:[.]|,|\s?:|\s|\)|\$|{END})");
    let expression = format!("(?:{before}{EXPRESSION}{after})");
    let number = format!("(?:{before}[{CURRENCIES}]?{NUMBER})");
    let either = format!("(?:{expression}|{number})");
    vec![
        Pattern::new(0, &format!(r"(?i:final answer is):?\s*{either}\.?\s?I hope")),
        Pattern::new(50, &format!(r"(?i:final answer.{{0,100}}?)\s+is:?{either}")),
        Pattern::new(100, &format!(r"(?i:answer)\s?:(?:.{{0,100}}=\s*|.{{0,50}}?){either}(?!\s*=)")),
        Pattern::new(200, &format!(r"(?i:answer)(?:.{{0,100}}=\s*|.{{0,50}}?){either}(?!\s*=)")),
        Pattern::new(300, &expression),
        Pattern::new(300, &number),
    ]
}

pub(super) fn read(captures: &Captures<'_>) -> Reading {
    let first = |names: [&str; 3]| {
        let mut groups = names.iter().filter_map(|name| captures.name(name)).map(|group| group.as_str());
        groups.find(|text| !text.is_empty()).unwrap_or("")
    };
    let integer = first(["integer1", "integer2", "integer3"]);
    let decimal = first(["decimal1", "decimal2", "decimal3"]);
    let values = |answer: Answer| Finding::Values(vec![answer]);
    if integer.is_empty() && decimal.is_empty() {
        let text = captures.name("expression").map_or("", |found| found.as_str());
        return (parse::plain(text).map(values), text.to_owned());
    }
    let integer = integer.replace([',', ' '], "");
    let integer = integer.trim_start_matches('0');
    let text = format!("{}{}", if integer.is_empty() { "0" } else { integer }, decimal.replace(',', "."));
    let number = Answer::number(&text).map(|number| match captures.name("percent") {
        Some(_) => number.percent(),
        None => number,
    });
    (number.map(values), text)
}
