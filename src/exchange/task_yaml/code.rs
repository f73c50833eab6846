//! The code of Jinja expressions, token by token: as much of it as a translation must understand.

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// Digits, and what stands among them.
    Number(String),
    /// The content of a literal, escapes as written.
    Text(String),
    Mark(char),
}

/// What the value of an expression is bound to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole number.
    Integer,
    /// A text that is no number.
    Text,
    Unknown,
}

/// Pieces with the depth of brackets around them; a bracket has the depth of what is outside it.
pub(super) fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let length = |fits: &dyn Fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let (token, size) = match c {
            _ if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '\'' | '"' => {
                let end = end_of_text(&rest[1..], c);
                (Token::Text(rest[1..=end].to_owned()), (end + 2).min(rest.len()))
            }
            _ if c.is_alphabetic() || c == '_' => {
                let end = length(&|c| c.is_alphanumeric() || c == '_');
                (Token::Name(rest[..end].to_owned()), end)
            }
            _ if c.is_ascii_digit() => {
                let end = length(&|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                (Token::Number(rest[..end].to_owned()), end)
            }
            _ => (Token::Mark(c), c.len_utf8()),
        };
        if matches!(token, Token::Mark(')' | ']' | '}')) {
            depth = depth.saturating_sub(1);
        }
        found.push((depth, token));
        if matches!(c, '(' | '[' | '{') {
            depth += 1;
        }
        rest = &rest[size..];
    }
    found
}

/// Bytes up to the mark that ends a text, or to the end.
fn end_of_text(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == mark => return at,
            _ => {}
        }
    }
    text.len()
}

/// The expression so that an operator can stand beside it: in brackets unless it is a name, a literal, or a chain of
/// attributes, calls and indices.
pub(super) fn operand(code: &str) -> String {
    let code = code.trim();
    let top: Vec<Token> = tokens(code).into_iter().filter(|(depth, _)| *depth == 0).map(|(_, token)| token).collect();
    let chain = !top.is_empty()
        && top.iter().enumerate().all(|(index, token)| match token {
            Token::Name(_) => index == 0 || top[index - 1] == Token::Mark('.'),
            Token::Text(_) | Token::Number(_) => index == 0,
            Token::Mark('(' | '[' | '{' | ')' | ']' | '}') => true,
            Token::Mark(mark) => *mark == '.',
        });
    if chain { code.to_owned() } else { format!("({code})") }
}

/// Words and marks of operators whose value may be anything.
const OPEN_WORDS: &[&str] = &["in", "is", "not", "and", "or", "if", "else"];
const OPEN_MARKS: &[char] = &['~', '=', '<', '>', '!', '/', '%'];
/// Filters and methods that count or look up.
const COUNTING_FILTERS: &[&str] = &["int", "length", "count"];
const COUNTING_METHODS: &[&str] = &["index", "find", "rfind", "count"];

/// What can be said of the value without knowing the columns.
pub(super) fn shape(code: &str) -> Shape {
    let code = without_brackets(code.trim());
    if let Some((yes, no)) = branches(code) {
        return if shape(yes) == shape(no) { shape(yes) } else { Shape::Unknown };
    }
    let all = tokens(code);
    let top: Vec<&Token> = all.iter().filter(|(depth, _)| *depth == 0).map(|(_, token)| token).collect();
    let open = |token: &&Token| match token {
        Token::Name(name) => OPEN_WORDS.contains(&name.as_str()),
        Token::Mark(mark) => OPEN_MARKS.contains(mark),
        _ => false,
    };
    if top.iter().any(open) {
        return Shape::Unknown;
    }
    match top.as_slice() {
        [Token::Number(digits)] if digits.chars().all(|c| c.is_ascii_digit()) => Shape::Integer,
        [Token::Text(text)] => text_shape(std::slice::from_ref(text)),
        // A difference is a number or an error.
        _ if top.contains(&&Token::Mark('-')) => Shape::Integer,
        [.., Token::Mark('|'), Token::Name(filter)] if COUNTING_FILTERS.contains(&filter.as_str()) => Shape::Integer,
        [.., Token::Mark('.'), Token::Name(method), Token::Mark('('), Token::Mark(')')]
            if COUNTING_METHODS.contains(&method.as_str()) =>
        {
            Shape::Integer
        }
        [Token::Mark('['), Token::Mark(']'), Token::Mark('['), Token::Mark(']')] => picked_text(&all),
        _ => Shape::Unknown,
    }
}

/// `['a', 'b'][i]`: a text, if none of them is a number.
fn picked_text(all: &[(usize, Token)]) -> Shape {
    let close = all.iter().position(|(depth, token)| *depth == 0 && *token == Token::Mark(']')).unwrap_or(0);
    let mut texts = Vec::new();
    for (_, token) in &all[1..close] {
        match token {
            Token::Text(text) => texts.push(text.clone()),
            Token::Mark(',') => {}
            _ => return Shape::Unknown,
        }
    }
    text_shape(&texts)
}

fn text_shape(texts: &[String]) -> Shape {
    let number = |text: &String| !text.is_empty() && text.chars().all(char::is_numeric);
    if texts.iter().any(number) { Shape::Unknown } else { Shape::Text }
}

/// The two values of `yes if condition else no`.
fn branches(code: &str) -> Option<(&str, &str)> {
    let word = |from: usize, word: &str| {
        let mut depth = 0_usize;
        let mut quote = None;
        let mut previous = ' ';
        for (at, c) in code.char_indices().skip_while(|(at, _)| *at < from) {
            match (quote, c) {
                (Some(open), _) if c == open && previous != '\\' => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '(' | '[' | '{') => depth += 1,
                (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
                (None, _) => {
                    let ends = code[at..].strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word));
                    if depth == 0 && ends && !is_word(previous) {
                        return Some(at);
                    }
                }
            }
            previous = c;
        }
        None
    };
    let condition = word(0, "if")?;
    let other = word(condition, "else")?;
    Some((&code[..condition], &code[other + "else".len()..]))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code within brackets that are around all of it.
fn without_brackets(code: &str) -> &str {
    let Some(inner) = code.strip_prefix('(').and_then(|code| code.strip_suffix(')')) else { return code };
    let top = tokens(code).into_iter().filter(|(depth, token)| *depth == 0 && *token == Token::Mark('(')).count();
    let whole = tokens(code).iter().filter(|(depth, _)| *depth == 0).count() == 2;
    if top == 1 && whole { without_brackets(inner.trim()) } else { code }
}
