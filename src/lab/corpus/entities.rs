//! Mentions as LMEnt stores them (Gottesman et al. 2025, `entities` of a chunk's metadata).
//!
//! The world knows who is meant; the scores are those that LMEnt's three tools would give to a mention of that kind, with
//! the confusion that ambiguous names cause: whoever shares the wording is a candidate below the threshold of 0.6.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::lab::document::{Mention, MentionKind};

/// What each of LMEnt's sources says of a mention.
struct Scores {
    hyperlinks: f64,
    entity_linking: f64,
    coref: f64,
    coref_cluster: f64,
}

impl Scores {
    /// The weights of LMEnt's released chunks.
    fn aggregated(&self) -> f64 {
        0.4 * self.hyperlinks + 0.3 * self.entity_linking + 0.2 * self.coref + 0.1 * self.coref_cluster
    }

    fn json(&self, (entity, name): (&str, &str)) -> Value {
        json!({
            "qid": entity,
            "name": name,
            "scores_by_source": {
                "hyperlinks": self.hyperlinks,
                "entity_linking": self.entity_linking,
                "coref": self.coref,
                "coref_cluster": self.coref_cluster,
            },
            "aggregated_score": rounded(self.aggregated()),
        })
    }
}

/// Of a mention of this kind; an encyclopedia links an entity where it names it first.
fn scores(kind: MentionKind, linked: bool) -> Scores {
    let (entity_linking, coref, coref_cluster) = match kind {
        MentionKind::Name => (0.95, 1.0, 1.0),
        MentionKind::Alias => (0.8, 0.7, 1.0),
        MentionKind::Nickname => (0.65, 0.65, 0.9),
        MentionKind::Descriptor => (0.0, 0.0, 0.9),
        MentionKind::Pronoun => (0.0, 0.0, 1.0),
    };
    Scores { hyperlinks: f64::from(u8::from(linked)), entity_linking, coref, coref_cluster }
}

/// Scores of whoever could be meant by the wording and is not.
const CONFUSED: Scores = Scores { hyperlinks: 0.0, entity_linking: 0.4, coref: 0.3, coref_cluster: 0.1 };

fn rounded(score: f64) -> f64 {
    (score * 1e4).round() / 1e4
}

/// The `entities` of a document: character spans, kinds, and candidates, of which the first is meant.
pub fn entities(text: &str, mentions: &[Mention], links: bool) -> Value {
    let characters: Vec<char> = text.chars().collect();
    let mut linked = BTreeSet::new();
    let entity = |mention: &Mention| -> Value {
        let first = links && mention.kind == MentionKind::Name && linked.insert(mention.entity.clone());
        let right = scores(mention.kind, first).json((&mention.entity, &mention.name));
        let others = mention.also.iter().map(|(entity, name)| CONFUSED.json((entity, name)));
        json!({
            "char_start": mention.start,
            "char_end": mention.end,
            "text_mention": characters[mention.start..mention.end].iter().collect::<String>(),
            "kind": mention.kind,
            "candidates": std::iter::once(right).chain(others).collect::<Vec<_>>(),
        })
    };
    mentions.iter().map(entity).collect()
}
