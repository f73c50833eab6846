//! Reading arithmetic and LaTeX into values, by recursive descent.

use super::algebra::{Answer, Value};

/// Deeper nesting is not read.
const MOST_NESTED: usize = 60;

/// Commands that are letters.
const LETTERS: [&str; 32] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Sigma",
    "Phi",
    "Omega",
    "infty",
];

/// Commands that take what follows as their argument.
const FUNCTIONS: [&str; 13] =
    ["sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "arcsin", "arccos", "arctan", "lg"];

/// Commands whose braces hold a word.
const WORDS: [&str; 6] = ["text", "mathrm", "textbf", "mathbf", "operatorname", "mbox"];

/// Arithmetic in Python's syntax, with `^` for powers too: no letters, no products without a sign.
pub(super) fn plain(text: &str) -> Option<Answer> {
    let mut reader = Reader { rest: text, depth: 0, latex: false };
    let value = reader.sum()?;
    reader.at_end().then(|| value.into())
}

/// An expression in LaTeX, or several with `=` between them: then the first is the left side and the last the right.
pub(super) fn latex(text: &str) -> Option<Answer> {
    // A number with thousands separators has commas, which nothing else here has.
    let groups: Vec<&str> = text.split(',').collect();
    let thousands = groups.len() > 1
        && groups[1..].iter().all(|group| group.get(..3).is_some_and(is_digits) && !starts_with_digit(&group[3..]));
    let text = if thousands { text.replace(',', "") } else { text.to_owned() };
    let text = without_unit(&text);
    let mut sides = Vec::new();
    let mut letter = false;
    for side in text.split('=') {
        let mut reader = Reader { rest: side, depth: 0, latex: true };
        let value = reader.sum()?;
        if !reader.at_end() {
            return None;
        }
        if sides.is_empty() {
            letter = !side.contains(|c: char| c.is_ascii_digit())
                || Reader { rest: side, depth: 0, latex: true }.is_letter();
        }
        sides.push(value);
    }
    let left = (sides.len() > 1).then(|| (sides[0], letter));
    Some(Answer { value: *sides.last()?, left })
}

/// A number alone before a word loses the word.
fn without_unit(text: &str) -> &str {
    let Some((number, word)) = text.split_once('\\') else { return text };
    let is_word =
        WORDS.iter().any(|name| word.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('{')));
    let alone = word.matches('{').count() == 1 && word.trim_end().ends_with('}');
    if is_word && alone && Value::number(number.trim()).is_some() { number } else { text }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    latex: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// A command by its whole name.
    fn take_command(&mut self, name: &str) -> bool {
        let found = self.command() == Some(name);
        if found {
            self.rest = &self.rest[1 + name.len()..];
        }
        found
    }

    /// The name of the command that comes next.
    fn command(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let name = self.rest.strip_prefix('\\')?;
        Some(&name[..name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len())])
    }

    fn at_end(&mut self) -> bool {
        self.rest.trim_start().is_empty()
    }

    /// Whether all that is left is one letter, with a subscript perhaps.
    fn is_letter(&mut self) -> bool {
        self.letter().is_some() && self.at_end()
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        let found = if self.depth > MOST_NESTED { None } else { inner(self) };
        self.depth -= 1;
        found
    }

    fn sum(&mut self) -> Option<Value> {
        self.nested(|reader| {
            let mut total = reader.product()?;
            loop {
                // Either sign, but the same one everywhere: an unknown factor.
                if reader.latex && reader.take_command("pm") {
                    total = total.plus(Value::symbol("\\pm").times(reader.product()?));
                } else if reader.take("+") {
                    total = total.plus(reader.product()?);
                } else if reader.take("-") {
                    total = total.minus(reader.product()?);
                } else {
                    return Some(total);
                }
            }
        })
    }

    fn product(&mut self) -> Option<Value> {
        let mut total = self.signed()?;
        loop {
            if self.take("**") {
                // A power takes these before; here they follow something that has none.
                return None;
            }
            if self.take("*") || (self.latex && (self.take_command("cdot") || self.take_command("times"))) {
                total = total.times(self.signed()?);
            } else if self.take("/") || (self.latex && self.take_command("div")) {
                total = total.over(self.signed()?)?;
            } else if self.latex && (self.take("\\%") || self.take("%")) {
                total = total.percent();
            } else if self.latex && self.begins_factor() {
                total = total.times(self.power()?);
            } else {
                return Some(total);
            }
        }
    }

    /// A factor with signs before it, which bind weaker than a power.
    fn signed(&mut self) -> Option<Value> {
        if self.latex && self.take_command("pm") {
            return Some(Value::symbol("\\pm").times(self.nested(Self::signed)?));
        }
        if self.take("-") {
            return self.nested(Self::signed).map(Value::negated);
        }
        if self.take("+") {
            return self.nested(Self::signed);
        }
        self.power()
    }

    /// Powers group from the right.
    fn power(&mut self) -> Option<Value> {
        let mut base = self.atom()?;
        if self.latex && self.take("!") {
            base = base.factorial()?;
        }
        if self.latex {
            if !self.take("^") {
                return Some(base);
            }
            let exponent = self.nested(Self::argument)?;
            return base.to_the(exponent);
        }
        if self.take("**") || self.take("^") {
            let exponent = self.nested(Self::signed)?;
            return base.to_the(exponent);
        }
        Some(base)
    }

    /// Whether a product without a sign goes on.
    fn begins_factor(&mut self) -> bool {
        match self.command() {
            Some(name) => !["cdot", "times", "div", "pm"].contains(&name) && !name.is_empty(),
            None => self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '(' || c == '{'),
        }
    }

    fn bracketed(&mut self, open: &str, close: &str) -> Option<Value> {
        if !self.take(open) {
            return None;
        }
        let value = self.sum()?;
        self.take(close).then_some(value)
    }

    /// Braces, or the one digit, letter or command that stands for them.
    fn argument(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('{') {
            return self.bracketed("{", "}");
        }
        if starts_with_digit(self.rest) {
            let (digit, rest) = self.rest.split_at(1);
            self.rest = rest;
            return Value::number(digit);
        }
        self.atom()
    }

    fn atom(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('(') {
            return self.bracketed("(", ")");
        }
        if let Some(number) = self.digits() {
            let value = Value::number(number)?;
            let before_fraction = self.latex && is_digits(number) && self.command() == Some("frac");
            return if before_fraction { self.mixed(value) } else { Some(value) };
        }
        if !self.latex {
            return None;
        }
        if self.rest.starts_with('{') {
            return self.bracketed("{", "}");
        }
        if self.take_command("frac") {
            let top = self.nested(Self::argument)?;
            return top.over(self.nested(Self::argument)?);
        }
        if self.take_command("sqrt") {
            let degree = if self.rest.starts_with('[') { Some(self.bracketed("[", "]")?) } else { None };
            let inner = self.nested(Self::argument)?;
            return Some(inner.root(degree.unwrap_or_else(|| Value::integer(2))));
        }
        if let Some(name) = self.command().and_then(|name| FUNCTIONS.iter().find(|known| **known == name)) {
            self.take_command(name);
            // `\sin^2 x` is not read.
            return (!self.rest.starts_with('^')).then_some(()).and_then(|()| self.nested(Self::power)).and_then(
                |argument| match *name {
                    "exp" => Value::symbol("e").to_the(argument),
                    name => Some(Value::function(name, &[argument])),
                },
            );
        }
        self.letter()
    }

    /// A whole number before a fraction: both together where the fraction is a number, their product otherwise.
    fn mixed(&mut self, whole: Value) -> Option<Value> {
        let fraction = self.nested(Self::power)?;
        Some(if fraction.is_number() { whole.plus(fraction) } else { whole.times(fraction) })
    }

    /// Digits, with a point among or before them perhaps.
    fn digits(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let fraction = self.rest[end..]
            .strip_prefix('.')
            .map_or("", |after| &after[..after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())]);
        let end = if fraction.is_empty() { end } else { end + 1 + fraction.len() };
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!number.is_empty()).then_some(number)
    }

    /// One letter, a Greek one, or a word in braces; with its subscript.
    fn letter(&mut self) -> Option<Value> {
        let name = match self.command() {
            Some(name) if LETTERS.contains(&name) => {
                self.take_command(name);
                name.to_owned()
            }
            Some(name) if WORDS.contains(&name) => {
                self.take_command(name);
                format!("word {}", self.braced_text()?.trim())
            }
            Some(_) => return None,
            None => {
                let letter = self.rest.chars().next().filter(|c| c.is_alphabetic())?;
                self.rest = &self.rest[letter.len_utf8()..];
                letter.to_string()
            }
        };
        if !self.take("_") {
            return Some(Value::symbol(&name));
        }
        let subscript = if self.rest.starts_with('{') {
            self.braced_text()?
        } else {
            let first = self.rest.chars().next().filter(|c| c.is_alphanumeric())?;
            let (subscript, rest) = self.rest.split_at(first.len_utf8());
            self.rest = rest;
            subscript
        };
        Some(Value::symbol(&format!("{name}_{}", subscript.trim())))
    }

    /// The text in the braces that come next, which hold no others.
    fn braced_text(&mut self) -> Option<&'a str> {
        let (text, rest) = self.rest.trim_start().strip_prefix('{')?.split_once('}')?;
        self.rest = rest;
        (!text.contains('{')).then_some(text)
    }
}
