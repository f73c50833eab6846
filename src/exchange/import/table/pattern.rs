//! Column names that hold the name of a task, of a metric, or of both: `eval/downstream/{task}_acc`.

use crate::util::suggest::nearest;

/// A name with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Task,
    Metric,
}

/// What stood in the holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub task: Option<String>,
    pub metric: Option<String>,
}

impl Pattern {
    /// A pattern, or none where the name has no holes.
    pub fn parse(name: &str) -> Result<Option<Self>, String> {
        let mut pieces = Vec::new();
        let mut rest = name;
        while let Some((text, after)) = rest.split_once('{') {
            let (hole, after) =
                after.split_once('}').ok_or_else(|| format!("expected `}}` behind `{{` in {name:?}"))?;
            let piece = match hole {
                "task" => Piece::Task,
                "metric" => Piece::Metric,
                other => {
                    let near = nearest(other, ["task", "metric"]);
                    let help = near.map_or(String::new(), |near| format!("; did you mean {{{near}}}?"));
                    return Err(format!("expected {{task}} or {{metric}} in {name:?}, found {{{other}}}{help}"));
                }
            };
            if pieces.contains(&piece) {
                return Err(format!("expected {{{hole}}} once in {name:?}, found it twice"));
            }
            pieces.extend([Piece::Text(text.to_owned()), piece]);
            rest = after;
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Some(Self { pieces }))
    }

    /// What a name has in the holes, if it fits. A hole takes at least one character, the first one as many as it can.
    pub fn fill(&self, name: &str) -> Option<Filled> {
        fill(&self.pieces, name)
    }

    /// The name for a task and a metric.
    pub fn name(&self, task: &str, metric: &str) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Task => task.to_owned(),
            Piece::Metric => metric.to_owned(),
        };
        self.pieces.iter().map(piece).collect()
    }
}

fn fill(pieces: &[Piece], name: &str) -> Option<Filled> {
    let Some((first, rest)) = pieces.split_first() else { return name.is_empty().then(Filled::default) };
    if let Piece::Text(text) = first {
        return fill(rest, name.strip_prefix(text.as_str())?);
    }
    let mut ends = name.char_indices().map(|(index, c)| index + c.len_utf8()).rev();
    ends.find_map(|end| Some((end, fill(rest, &name[end..])?))).map(|(end, mut filled)| {
        let taken = Some(name[..end].to_owned());
        match first {
            Piece::Task => filled.task = taken,
            _ => filled.metric = taken,
        }
        filled
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pattern: &str, name: &str) -> Option<(String, String)> {
        let found = Pattern::parse(pattern).unwrap().unwrap().fill(name)?;
        Some((found.task.unwrap_or_default(), found.metric.unwrap_or_default()))
    }

    #[test]
    fn holes_are_filled() {
        let both = |task: &str, metric: &str| Some((task.to_owned(), metric.to_owned()));
        assert_eq!(filled("eval/{task}_acc", "eval/arc_easy_acc"), both("arc_easy", ""));
        assert_eq!(filled("{task}_{metric}", "arc_easy_acc"), both("arc_easy", "acc"));
        assert_eq!(filled("{metric}/{task}", "é/ü"), both("ü", "é"));
        assert_eq!(filled("{task}{metric}", "abc"), both("ab", "c"));
        for name in ["eval/_acc", "eval/x", "x_acc", ""] {
            assert_eq!(filled("eval/{task}_acc", name), None, "{name}");
        }
        let pattern = Pattern::parse("eval/{task}_{metric}_stderr").unwrap().unwrap();
        assert_eq!(pattern.name("a", "b"), "eval/a_b_stderr");
    }

    #[test]
    fn broken_patterns_are_named() {
        assert_eq!(Pattern::parse("plain"), Ok(None));
        assert!(Pattern::parse("{tasc}").unwrap_err().contains("did you mean {task}?"));
        assert!(Pattern::parse("{task").unwrap_err().contains("`}`"));
        assert!(Pattern::parse("{task}{task}").unwrap_err().contains("twice"));
    }
}
