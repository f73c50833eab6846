//! `veval list`

use super::args::{ListArguments, Listed};
use super::print;
use crate::error::Result;
use crate::metric::{METRICS, OutcomeKind};
use crate::model::families::FAMILIES;
use crate::request::site::BLOCK_SITES;
use crate::suite::{DefinitionFile, PROFILES, read_task, shipped};

pub(super) fn list(arguments: &ListArguments) -> Result<()> {
    let rows = match arguments.what {
        Listed::Tasks => tasks()?,
        Listed::Metrics => metrics(),
        Listed::Profiles => {
            PROFILES.iter().map(|profile| [profile.id.to_owned(), String::new(), profile.summary.to_owned()]).collect()
        }
        Listed::Families => FAMILIES
            .iter()
            .map(|family| [family.model_type.to_owned(), String::new(), family.examples.to_owned()])
            .collect(),
        Listed::Sites => BLOCK_SITES
            .iter()
            .map(|site| [format!("blocks.{{i}}.{}", site.name), format!("[{}]", site.shape), site.meaning.to_owned()])
            .collect(),
    };
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[a, b, c]: &[String; 3]| {
        let second = if second > 0 { format!("{b:<second$}  ") } else { String::new() };
        format!("{}\n", format!("{a:<first$}  {second}{c}").trim_end())
    };
    print(&rows.iter().map(line).collect::<String>())
}

fn tasks() -> Result<Vec<[String; 3]>> {
    let mut rows = Vec::new();
    for shipped in shipped::TASKS {
        let tasks = read_task(&DefinitionFile { path: shipped.path.into(), text: shipped.text.to_owned() })?;
        if let Some(task) = tasks.first() {
            let public =
                task.data.hub.as_ref().filter(|hub| !hub.verified).map_or("", |_| " [public columns not verified]");
            rows.push([shipped.name.to_owned(), task.kind.name().to_owned(), format!("{}{public}", task.about)]);
        }
    }
    Ok(rows)
}

fn metrics() -> Vec<[String; 3]> {
    let kind = |kind| match kind {
        OutcomeKind::Choices => "multiple_choice",
        OutcomeKind::Cloze => "cloze",
        OutcomeKind::Rolling => "perplexity",
        OutcomeKind::Answer => "generation",
    };
    METRICS
        .iter()
        .map(|metric| [metric.name.to_owned(), kind(metric.kind).to_owned(), metric.about.to_owned()])
        .collect()
}
