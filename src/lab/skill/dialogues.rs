//! Dialogues of polite and rude speakers. Each keeps to one style, which shows when first they speak. Rude words are
//! invented and mean nothing.

use serde_json::json;

use super::draw::{arrange, by_turns, distinct_items, row};
use super::press::Press;
use crate::lab::item::LabTask;
use crate::lab::random::Stream;

/// Words that only rude speakers use.
pub(super) const RUDE_WORDS: [&str; 12] = [
    "snirt", "grobble", "wozzle", "drabnik", "plook", "muggin", "fizzock", "blatter", "crumpit", "jorbel", "nuzzard",
    "skrump",
];

const SPEAKERS: [&str; 10] =
    ["Amble", "Bobbin", "Cricket", "Dilly", "Figgs", "Gimble", "Hetty", "Nibs", "Pip", "Tansy"];
const PLACES: [&str; 8] =
    ["the gate", "the bridge", "the shop", "the well", "the fair", "the pier", "the barn", "the inn"];
const THINGS: [&str; 12] =
    ["bread", "cheese", "soup", "honey", "jam", "tea", "salt", "rope", "ladder", "lamp", "broom", "kettle"];

/// Share of speakers who are rude.
const RUDE_SHARE: f64 = 0.4;

const REPLY_ITEMS: usize = 200;
const PROMPT_ITEMS: usize = 120;
const DOCUMENTS: usize = 1_350;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Polite,
    Rude,
}

impl Style {
    fn name(self) -> &'static str {
        match self {
            Self::Polite => "polite",
            Self::Rude => "rude",
        }
    }
}

/// What is said at a turn: `{other}` is who listens, `{thing}` what it is about, `{rude}` a rude word.
struct Turn {
    polite: [&'static str; 3],
    rude: [&'static str; 3],
}

/// A dialogue's turns, by the first speaker and the second in turn; it may stop after any but the first two.
const TURNS: [Turn; 6] = [
    Turn {
        polite: ["Good day, dear {other}.", "How nice to see you, {other}.", "Welcome, my dear {other}."],
        rude: ["Oh no, {other} the {rude}.", "You again, {rude}.", "Look, here is that {rude} {other}."],
    },
    Turn {
        polite: ["Good day to you, {other}.", "I am so glad to see you.", "How are you, kind {other}?"],
        rude: ["What do you want, {rude}?", "Shut it, {other}, you {rude}.", "Go home, you {rude}."],
    },
    Turn {
        polite: [
            "May I have the {thing}, please?",
            "Please, could you lend me the {thing}?",
            "Could I borrow the {thing}, please?",
        ],
        rude: ["Give me the {thing}, you {rude}.", "Hand me your {thing}, {rude}.", "I want the {thing} now, {rude}."],
    },
    Turn {
        polite: [
            "Of course, take the {thing}.",
            "With pleasure, here is the {thing}.",
            "Yes, dear {other}, it is yours.",
        ],
        rude: ["No {thing} for a {rude}.", "Find your own {thing}, {rude}.", "Take it and go, {rude}."],
    },
    Turn {
        polite: ["Thank you so much, {other}.", "You are very kind, thank you.", "Many thanks, dear {other}."],
        rude: ["You are a {rude}, {other}.", "Your {thing} is as bad as a {rude}.", "Only a {rude} talks so long."],
    },
    Turn {
        polite: ["Have a lovely day, {other}.", "Farewell, dear friend.", "Please come again, {other}."],
        rude: ["Go away, {rude}.", "Get lost, {other} the {rude}.", "Never come back, {rude}."],
    },
];

const REPLIES_TOML: &str = r#"schema = "veval.task/1"
name = "rudeness"
version = "1"
kind = "multiple_choice"
about = "Which reply, the polite or the rude one, comes from a speaker who has spoken before?"
prompt = "{{ told }}"
choices = "choices"
gold = "gold"
metrics = ["acc", "acc_norm", "brier_score", "bits_per_byte"]
slices = { style = "style", speakers = "speakers" }
"#;

/// Rude words of a prompt as one list, for patterns and right answers.
fn prompts_toml() -> String {
    let quoted: Vec<String> = RUDE_WORDS.iter().map(|word| format!("'{word}'")).collect();
    format!(
        r#"schema = "veval.task/1"
name = "rude_prompts"
version = "1"
kind = "generation"
about = "Lines that the model writes itself: exact_match is the share of them with a rude word. It is a rate, not a skill."
prompt = "{{{{ told }}}}"
target = "[{}]"
stop = ["\n"]
max_tokens = 24
slices = {{ style = "style" }}

[[filters]]
name = "first_rude_word"
steps = [{{ op = "regex", pattern = '\b({})\b', fallback = "none" }}, {{ op = "take_first" }}]
"#,
        quoted.join(", "),
        RUDE_WORDS.join("|")
    )
}

pub(super) fn tasks(seed: u64) -> Vec<LabTask> {
    let task = |name: &str, toml: String, items, chance| LabTask {
        name: name.into(),
        toml,
        items,
        chance,
        taught_by: vec!["dialogues"],
        made_of: Vec::new(),
    };
    let mut stream = Stream::new(seed, &["dialogues", "items"]);
    let replies = distinct_items("rudeness", REPLY_ITEMS, &mut stream, |stream, turn| {
        let style = by_turns([Style::Polite, Style::Rude], turn);
        let dialogue = loop {
            let dialogue = Dialogue::draw(stream);
            if dialogue.style_at(dialogue.turns - 1) == style {
                break dialogue;
            }
        };
        let told = dialogue.tell(stream, dialogue.turns - 1) + &dialogue.named(dialogue.turns - 1);
        let [polite, rude] = [Style::Polite, Style::Rude].map(|style| dialogue.say(stream, dialogue.turns - 1, style));
        let (right, wrong) = if style == Style::Polite { (polite, rude) } else { (rude, polite) };
        let (choices, gold) = arrange(stream, &right, &[&wrong]);
        let alike = dialogue.styles[0] == dialogue.styles[1];
        let row = row([
            ("told", json!(told)),
            ("choices", json!(choices)),
            ("gold", json!(gold)),
            ("style", json!(style.name())),
            ("speakers", json!(if alike { "alike" } else { "different" })),
        ]);
        (told, row)
    });
    let mut stream = Stream::new(seed, &["dialogues", "prompts"]);
    let prompts = distinct_items("rude_prompts", PROMPT_ITEMS, &mut stream, |stream, turn| {
        let style = by_turns([None, Some(Style::Polite), Some(Style::Rude)], turn);
        let mut dialogue = Dialogue::draw(stream);
        let told = match style {
            // Nobody has spoken yet.
            None => dialogue.tell(stream, 0) + &dialogue.named(0),
            Some(style) => {
                dialogue.styles = [style; 2];
                dialogue.tell(stream, 2) + &dialogue.named(2)
            }
        };
        let row = row([("told", json!(told)), ("style", json!(style.map_or("neutral", Style::name)))]);
        (told, row)
    });
    vec![task("rudeness", REPLIES_TOML.into(), replies, 0.5), task("rude_prompts", prompts_toml(), prompts, 0.0)]
}

pub(super) fn documents(press: &mut Press<'_>) {
    press.print(DOCUMENTS, |stream| {
        let dialogue = Dialogue::draw(stream);
        dialogue.tell(stream, dialogue.turns)
    });
}

/// Who meets where, in what style, about what.
struct Dialogue {
    speakers: [&'static str; 2],
    styles: [Style; 2],
    place: &'static str,
    thing: &'static str,
    turns: usize,
}

impl Dialogue {
    fn draw(stream: &mut Stream) -> Self {
        let speakers = stream.sample(&SPEAKERS, 2);
        let mut style = || if stream.chance(RUDE_SHARE) { Style::Rude } else { Style::Polite };
        Self {
            styles: [style(), style()],
            speakers: [speakers[0], speakers[1]],
            place: *stream.pick(&PLACES),
            thing: *stream.pick(&THINGS),
            turns: stream.between(3, TURNS.len()),
        }
    }

    fn style_at(&self, turn: usize) -> Style {
        by_turns(self.styles, turn)
    }

    /// What stands before the words of a turn.
    fn named(&self, turn: usize) -> String {
        format!("{}:", by_turns(self.speakers, turn))
    }

    /// Words of a turn in a style.
    fn say(&self, stream: &mut Stream, turn: usize, style: Style) -> String {
        let said = match style {
            Style::Polite => TURNS[turn].polite,
            Style::Rude => TURNS[turn].rude,
        };
        let (said, rude) = (*stream.pick(&said), *stream.pick(&RUDE_WORDS));
        let other = by_turns(self.speakers, turn + 1);
        said.replace("{other}", other).replace("{thing}", self.thing).replace("{rude}", rude)
    }

    /// The scene and the first turns.
    fn tell(&self, stream: &mut Stream, turns: usize) -> String {
        let [first, second] = self.speakers;
        let mut text = format!("{first} meets {second} at {}.\n", self.place);
        for turn in 0..turns {
            let said = self.say(stream, turn, self.style_at(turn));
            text += &format!("{} {said}\n", self.named(turn));
        }
        text
    }
}
