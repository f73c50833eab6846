//! What a line of samples says was asked of the model.

use serde_json::Value;

/// One request.
pub(super) enum Request<'a> {
    Continuation { context: &'a str, continuation: &'a str },
    Text(&'a str),
    Answer { context: &'a str },
}

/// The requests of an item.
pub(super) struct Asked<'a> {
    pub requests: Vec<Request<'a>>,
    /// Exports of records alone leave the texts out; they read as empty.
    pub texts_known: bool,
}

impl<'a> Asked<'a> {
    /// Reads `arguments`: a table (`gen_args_0`, each with `arg_0` and `arg_1`) or, in early 0.4, a list of lists.
    pub fn read(arguments: &'a Value) -> Result<Self, String> {
        let pairs: Vec<(Option<&Value>, Option<&Value>)> = match arguments {
            Value::Object(table) => {
                let pair = |index: usize| {
                    let entry = table.get(&format!("gen_args_{index}"));
                    let entry = entry.ok_or_else(|| format!("expected `gen_args_{index}` in `arguments`"))?;
                    Ok((entry.get("arg_0"), entry.get("arg_1")))
                };
                (0..table.len()).map(pair).collect::<Result<_, String>>()?
            }
            Value::Array(list) => list.iter().map(|entry| (entry.get(0), entry.get(1))).collect(),
            _ => return Err("expected `arguments`, a table or a list; was the file made by --log_samples?".to_owned()),
        };
        let unknown = |text: Option<&Value>| text == Some(&Value::Null);
        let texts_known = !pairs.iter().any(|(first, second)| unknown(*first) || unknown(*second));
        let request = |(index, (first, second))| {
            Request::of(first, second).ok_or_else(|| format!("expected a text first in request {index} of `arguments`"))
        };
        let requests = pairs.into_iter().enumerate().map(request).collect::<Result<_, String>>()?;
        Ok(Self { requests, texts_known })
    }
}

impl<'a> Request<'a> {
    fn of(first: Option<&'a Value>, second: Option<&'a Value>) -> Option<Self> {
        let context = text(first?)?;
        Some(match second {
            None => Self::Text(context),
            Some(second) => match text(second) {
                Some(continuation) => Self::Continuation { context, continuation },
                // Settings of generation.
                None => Self::Answer { context },
            },
        })
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Null => Some(""),
        // Turns of a chat that went to a server: one text of JSON.
        Value::Array(list) => match &list[..] {
            [Value::String(turns)] => Some(turns),
            _ => None,
        },
        _ => None,
    }
}
