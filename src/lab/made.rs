//! A lab: a world and skills, put together and written down.
//!
//! | file | what |
//! | --- | --- |
//! | `corpus.jsonl.gz` | documents of all sources ([`super::corpus`]) |
//! | `suite.toml`, `tasks/NAME.toml`, `tasks/items/NAME.jsonl` | tasks; every item says its `split` |
//! | `truth/world.json` | entities, relations with their wordings, ambiguous names, the law of how often facts are stated |
//! | `truth/facts.jsonl` | every fact: how often it is stated, and the documents that state it |
//! | `truth/skills.json` | transformations and their parts, authors and parties with their directions, rude words |
//! | `truth/tasks.json` | each task: the score of guessing, the sources that teach it, the tasks that it is made of |
//! | `lab.toml` | a training plan |
//! | `README.md` | how all this was made |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::corpus::{Source, write_corpus};
use super::item::LabTask;
use super::sealed::Sealed;
use super::size::Size;
use super::skill;
use super::world::{self, World};
use crate::error::{Error, Result};
use crate::util::files;

/// Everything that a seed makes.
#[derive(Debug, Clone)]
pub struct Lab {
    seed: u64,
    size: Size,
    pub sources: Vec<Source>,
    pub tasks: Vec<LabTask>,
    pub world: world::Truth,
    pub skills: skill::Truth,
}

/// The source whose names are links.
const LINKED: &str = "encyclopedia";

/// The plan of a run over a new lab.
const TRAINING: &str = include_str!("training.toml");

impl Lab {
    /// Makes a lab. The same for the same seed and size.
    ///
    /// # Errors
    /// A document with the own text of a sealed item, which is a defect of the generator.
    pub fn new(seed: u64, size: Size) -> Result<Self> {
        let world = World::new(seed, size);
        let skills = skill::all(seed, size);
        let mut tasks = world.tasks();
        let mut sources = world.sources();
        for skill in skills {
            sources.push((skill.source, skill.documents));
            tasks.extend(skill.tasks);
        }
        let source = |(name, documents)| Source { name, documents, links: name == LINKED };
        let sources = sources.into_iter().map(source).collect();
        let lab = Self { seed, size, sources, tasks, world: world.truth(), skills: skill::truth(seed) };
        lab.check_leaks()?;
        Ok(lab)
    }

    fn check_leaks(&self) -> Result<()> {
        let sealed = Sealed::of(&self.tasks);
        for source in &self.sources {
            for (number, draft) in source.documents.iter().enumerate() {
                if let Some(own_text) = sealed.find_in(&draft.text) {
                    let message = format!("expected no sealed item in {}, found {own_text:?}", source.id(number));
                    return Err(Error::internal(message));
                }
            }
        }
        Ok(())
    }

    /// Documents by fact, in the order of the corpus; a document that states a fact twice is there twice.
    pub fn documents_by_fact(&self) -> BTreeMap<usize, Vec<String>> {
        let mut documents: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for source in &self.sources {
            for (number, draft) in source.documents.iter().enumerate() {
                for fact in &draft.facts {
                    documents.entry(*fact).or_default().push(source.id(number));
                }
            }
        }
        documents
    }

    /// Writes all files into a folder.
    pub fn write(&self, out: &Path) -> Result<()> {
        for folder in ["", "tasks/items", "truth"] {
            files::create_folder(&out.join(folder))?;
        }
        write_corpus(&out.join("corpus.jsonl.gz"), &self.sources)?;
        for task in &self.tasks {
            let rows = task.items.iter().map(|item| {
                let mut row = item.row.clone();
                row.insert("split".to_owned(), json!(item.split));
                Value::Object(row)
            });
            write_lines(&out.join(format!("tasks/items/{}.jsonl", task.name)), rows)?;
            let toml = with_split(&task.toml);
            let toml = format!("{}\n\n[data]\nfile = \"items/{}.jsonl\"\n", toml.trim_end(), task.name);
            files::write_atomic(&out.join(format!("tasks/{}.toml", task.name)), toml.as_bytes())?;
        }
        files::write_atomic(&out.join("suite.toml"), self.suite().as_bytes())?;
        self.write_truth(&out.join("truth"))?;
        let training = TRAINING.replace("{seed}", &self.seed.to_string());
        files::write_atomic(&out.join("lab.toml"), training.as_bytes())?;
        files::write_atomic(&out.join("README.md"), self.readme().as_bytes())
    }

    fn suite(&self) -> String {
        let mut suite =
            String::from("schema = \"veval.suite/1\"\nname = \"lab\"\nabout = \"Every task of an invented world.\"\n");
        for task in &self.tasks {
            // Nothing fails when a text is written.
            let _ = write!(suite, "\n[[task]]\nfile = \"tasks/{}.toml\"\n", task.name);
        }
        suite
    }

    fn write_truth(&self, folder: &Path) -> Result<()> {
        let json = |value: serde_json::Result<Value>| value.map_err(|e| Error::internal(e.to_string()));
        let mut world = json(serde_json::to_value(&self.world))?;
        let facts = world.as_object_mut().and_then(|world| world.remove("facts"));
        let documents = self.documents_by_fact();
        let mut lines = Vec::with_capacity(self.world.facts.len());
        for (fact, line) in
            self.world.facts.iter().zip(facts.and_then(|facts| facts.as_array().cloned()).into_iter().flatten())
        {
            let mut line = line;
            line["documents"] = json!(documents.get(&fact.number).map_or(&[][..], Vec::as_slice));
            lines.push(line);
        }
        write_lines(&folder.join("facts.jsonl"), lines.into_iter())?;
        let tasks = self.tasks.iter().map(|task| {
            json!({"name": task.name, "chance": task.chance, "taught_by": task.taught_by, "made_of": task.made_of})
        });
        let tables = [
            ("world.json", world),
            ("skills.json", json(serde_json::to_value(&self.skills))?),
            ("tasks.json", tasks.collect()),
        ];
        tables
            .iter()
            .try_for_each(|(name, table)| files::write_atomic(&folder.join(name), format!("{table:#}\n").as_bytes()))
    }

    fn readme(&self) -> String {
        let (documents, characters) = self.sources.iter().fold((0, 0), |(documents, characters), source| {
            let own: usize = source.documents.iter().map(|draft| draft.text.len()).sum();
            (documents + source.documents.len(), characters + own)
        });
        let mut readme = format!(
            "# A small controlled world\n\nMade by `veval lab new --seed {} --size {} --out DIR`: {documents} documents, \
             {characters} characters.\nEverything in it is invented. `truth/` says what is true.\n\n\
             | source | documents | characters |\n| --- | ---: | ---: |\n",
            self.seed,
            self.size.name(),
        );
        for source in &self.sources {
            let own: usize = source.documents.iter().map(|draft| draft.text.len()).sum();
            let _ = writeln!(readme, "| {} | {} | {own} |", source.name, source.documents.len());
        }
        readme.push_str("\nTrain on it: `veval lab train DIR/lab.toml --out DIR/ckpts`. ");
        readme.push_str("Score the checkpoints: `veval run DIR/suite.toml DIR/ckpts`.\n");
        readme
    }
}

/// A task file whose scores are also given for each part of the items.
fn with_split(toml: &str) -> String {
    const SLICES: &str = "slices = { ";
    const SPLIT: &str = "split = \"split\"";
    if toml.contains(SLICES) {
        return toml.replacen(SLICES, &format!("{SLICES}{SPLIT}, "), 1);
    }
    // Before the first table, to which the key would belong.
    let (keys, tables) = toml.split_at(toml.find("\n[").map_or(toml.len(), |at| at + 1));
    format!("{keys}{SLICES}{SPLIT} }}\n{tables}")
}

fn write_lines(path: &Path, rows: impl Iterator<Item = Value>) -> Result<()> {
    let mut lines = String::new();
    for row in rows {
        let _ = writeln!(lines, "{row}");
    }
    files::write_atomic(path, lines.as_bytes())
}
