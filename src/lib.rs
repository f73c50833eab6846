//! Judge the checkpoints of a language model in training, and steer the next step.
//!
//! ```text
//! suite.toml ─┐
//! items ──────┼─► requests ─► plan ─► backend ─► responses ─► metrics ─► run folder ─► report
//! checkpoint ─┘
//! ```
//!
//! Left of the backend nothing knows tensors; right of it nothing knows the model; everything right of the run folder
//! works without the checkpoint. `ARCHITECTURE.md` has the map of the modules and the rules between them.
//!
//! A task is data; this one is defined, given a row, and shows its prompt:
//!
//! ```
//! use veval::suite::{DefinitionFile, Question, TaskData, build_items, read_suite};
//!
//! let text = r#"
//! schema = "veval.suite/1"
//! name = "mini"
//! [[task]]
//! name = "capitals"
//! kind = "multiple_choice"
//! data = { file = "capitals.jsonl" }
//! prompt = "The capital of {{ country }} is"
//! choices = "cities"
//! gold = "0"
//! "#;
//! let file = DefinitionFile { path: "mini.toml".into(), text: text.into() };
//! let suite = read_suite(&file, &mut |_| unreachable!("no other file is named"))?;
//!
//! let task = &suite.tasks[0];
//! let row = serde_json::json!({"country": "Peru", "cities": ["Lima", "Cusco"]});
//! let data = TaskData { rows: vec![row.as_object().unwrap().clone()], pool: None };
//! let items = build_items(task, &task.data.public, &data)?;
//! let Question::Choices { prompts, choices, .. } = &items[0].question else { unreachable!() };
//! assert_eq!(prompts[0].text(), "The capital of Peru is");
//! assert_eq!(choices, &["Lima", "Cusco"]);
//! # Ok::<(), veval::Error>(())
//! ```

pub mod ckpt;
#[cfg(feature = "cli")]
pub mod cli;
pub mod ctx;
pub mod data;
pub mod diag;
pub mod error;
pub mod exchange;
pub mod feedback;
pub mod hub;
pub mod kernels;
pub mod lab;
pub mod lm;
pub mod metric;
pub mod model;
pub mod report;
pub mod request;
pub mod run;
pub mod stats;
pub mod store;
pub mod suite;
pub mod text;
pub mod util;

pub use error::{Error, ErrorKind, Result};
