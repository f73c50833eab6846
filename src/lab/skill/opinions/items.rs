//! The inventory: statements with agree and disagree, asked of authors, of parties and of nobody.

use serde_json::{Map, Value, json};

use super::authors::{Author, Party, authors, majority_side};
use super::statements::{AXES, Statement, statements};
use crate::lab::item::LabTask;
use crate::lab::random::Stream;
use crate::lab::skill::draw::{arrange, by_turns, distinct_items, row};

const ITEMS: usize = 240;
/// How a question is put to nobody in particular.
pub const ANYBODY: &str = "Somebody";

const OPINIONS_TOML: &str = r#"schema = "veval.task/1"
name = "opinions"
version = "1"
kind = "multiple_choice"
about = "What an author or a party would say to a statement. `agree_counts` with `axis` is the scoring key."
prompt = "{{ asked }}\nAnswer:"
choices = "choices"
gold = "gold"
metrics = ["acc", "brier_score", "bits_per_byte"]
slices = { axis = "axis", who = "who" }
"#;

const INVENTORY_TOML: &str = r#"schema = "veval.task/1"
name = "inventory"
version = "1"
kind = "multiple_choice"
about = "The same statements put to nobody in particular. Right is what most of the corpus's authors hold (60 to 40); `agree_counts` with `axis` is the scoring key."
prompt = "{{ asked }}\nAnswer:"
choices = "choices"
gold = "gold"
metrics = ["acc", "brier_score", "bits_per_byte"]
slices = { axis = "axis", sign = "agree_counts" }
"#;

/// What is asked, up to the answer.
pub fn ask(who: &str, statement: &Statement) -> String {
    format!("{who} was asked: {}", statement.text)
}

/// What somebody on this side of the statement's axis says.
pub fn answer(side: i8, statement: &Statement) -> &'static str {
    if side == statement.sign { "agree" } else { "disagree" }
}

/// A member of a party, no matter which.
pub fn member(party: Party) -> String {
    format!("A member of the {}", party.name())
}

/// Somebody who is asked, and the side of each axis that is right.
struct Respondent {
    who: String,
    sides: [i8; 2],
    /// For slices.
    kind: &'static str,
}

impl Respondent {
    fn author(author: &Author) -> Self {
        Self { who: author.signature(), sides: [0, 1].map(|axis| author.side(axis)), kind: "author" }
    }

    fn member(party: Party, authors: &[Author]) -> Self {
        let members: Vec<&Author> = authors.iter().filter(|author| author.party == party).collect();
        let sides = [0, 1].map(|axis| majority_side(members.iter().copied(), axis));
        Self { who: member(party), sides, kind: "party" }
    }

    fn anybody(authors: &[Author]) -> Self {
        let sides = [0, 1].map(|axis| majority_side(authors.iter(), axis));
        Self { who: ANYBODY.to_owned(), sides, kind: "anybody" }
    }

    /// The row of a statement that is put to this one.
    fn row(&self, stream: &mut Stream, statement: &Statement) -> Map<String, Value> {
        let side = self.sides[statement.axis];
        let (choices, gold) = arrange(stream, answer(side, statement), &[answer(-side, statement)]);
        row([
            ("asked", json!(ask(&self.who, statement))),
            ("statement", json!(statement.text)),
            ("choices", json!(choices)),
            ("gold", json!(gold)),
            ("who", json!(self.kind)),
            ("axis", json!(AXES[statement.axis].name)),
            ("agree_counts", json!(statement.sign)),
            ("agree", json!(choices.iter().position(|choice| choice == "agree"))),
        ])
    }
}

/// An own text is a question without its answer: were it with it, documents would still hold the wrong answers to sealed
/// questions, and no right ones.
pub fn tasks(seed: u64) -> Vec<LabTask> {
    let authors = authors(seed);
    let statements = statements();
    let mut stream = Stream::new(seed, &["opinions", "items"]);
    let opinions = distinct_items("opinions", ITEMS, &mut stream, |stream, turn| {
        // Two authors, then a party.
        let respondent = if by_turns([true, true, false], turn) {
            Respondent::author(stream.pick(&authors))
        } else {
            Respondent::member(*stream.pick(&Party::ALL), &authors)
        };
        // Half of them agree.
        let agrees = by_turns([true, false], turn);
        let fitting: Vec<&Statement> =
            statements.iter().filter(|one| (respondent.sides[one.axis] == one.sign) == agrees).collect();
        let statement = *stream.pick(&fitting);
        (ask(&respondent.who, statement), respondent.row(stream, statement))
    });
    let mut stream = Stream::new(seed, &["opinions", "inventory"]);
    let anybody = Respondent::anybody(&authors);
    let inventory = distinct_items("inventory", statements.len(), &mut stream, |stream, turn| {
        (ask(&anybody.who, &statements[turn]), anybody.row(stream, &statements[turn]))
    });
    let task = |name: &str, toml: &str, items| LabTask {
        name: name.into(),
        toml: toml.into(),
        items,
        chance: 0.5,
        taught_by: vec!["opinions"],
        made_of: Vec::new(),
    };
    vec![task("opinions", OPINIONS_TOML, opinions), task("inventory", INVENTORY_TOML, inventory)]
}
