//! A task for every transformation: four pairs without a name, and a query.

use serde_json::json;

use super::inventory::TRANSFORMATIONS;
use super::transformation::{Rule, Transformation, write_list};
use crate::lab::item::LabTask;
use crate::lab::random::Stream;
use crate::lab::skill::draw::{distinct_items, row};

const ITEMS: usize = 120;
/// Pairs before the query.
const DEMONSTRATIONS: usize = 4;

pub fn tasks(seed: u64) -> Vec<LabTask> {
    TRANSFORMATIONS.iter().map(|transformation| task(seed, transformation)).collect()
}

fn task(seed: u64, transformation: &Transformation) -> LabTask {
    let name = transformation.task();
    let mut stream = Stream::new(seed, &["lists", "items", transformation.name]);
    let items = distinct_items(&name, ITEMS, &mut stream, |stream, _| {
        let queries = draw_queries(stream, transformation);
        let lines: Vec<String> = queries.iter().map(|query| transformation.line(query)).collect();
        let [told @ .., asked] = lines.as_slice() else { unreachable!("there is a query") };
        let query = &queries[DEMONSTRATIONS];
        let (_, answer) = asked.split_once(" -> ").unwrap_or_default();
        let told = write_list(told);
        let mut row =
            row([("prompt", json!(format!("{told} {query} ->"))), ("query", json!(query)), ("answer", json!(answer))]);
        if let Some((slice, value)) = transformation.slice_of(query) {
            row.insert(slice.to_owned(), json!(value));
        }
        let own_text = match transformation.rule {
            // Partners must be told somewhere: what no document has is this pair after the one before it.
            Rule::Lookup { .. } => format!("{}\n {asked}", lines[DEMONSTRATIONS - 1]),
            _ => asked.clone(),
        };
        (own_text, row)
    });
    LabTask {
        toml: toml(transformation),
        name,
        items,
        chance: 0.0,
        taught_by: vec!["lists"],
        made_of: transformation.parts().into_iter().flatten().map(|part| format!("lists_{part}")).collect(),
    }
}

/// Different queries whose demonstrations tell this transformation from every other one.
fn draw_queries(stream: &mut Stream, transformation: &Transformation) -> Vec<String> {
    loop {
        let queries: Vec<String> = (0..=DEMONSTRATIONS).map(|_| transformation.draw_query(stream)).collect();
        let different = queries.iter().enumerate().all(|(place, query)| !queries[..place].contains(query));
        let explained_by = |other: &Transformation| {
            let told = &queries[..DEMONSTRATIONS];
            told.iter().all(|query| other.apply(query) == transformation.apply(query))
        };
        let alone = !TRANSFORMATIONS.iter().any(|other| other.name != transformation.name && explained_by(other));
        if different && alone {
            return queries;
        }
    }
}

fn toml(transformation: &Transformation) -> String {
    let about = match transformation.parts() {
        Some([first, second]) => format!("First `{first}`, then `{second}`, seen from four pairs."),
        None => format!("`{}`, seen from four pairs.", transformation.name),
    };
    let slices = match transformation.rule {
        Rule::Letters { .. } | Rule::Composite { .. } => "slices = { length = \"length\" }\n",
        Rule::Words { .. } => "slices = { class = \"class\" }\n",
        Rule::Lookup { .. } => "",
    };
    format!(
        r#"schema = "veval.task/1"
name = "{}"
version = "1"
kind = "cloze"
about = "{about}"
prompt = "{{{{ prompt }}}}"
target = "{{{{ answer }}}}\n"
metrics = ["acc", "bits_per_byte"]
{slices}"#,
        transformation.task()
    )
}
