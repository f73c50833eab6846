//! Suites and tasks: from TOML to validated definitions, and from a document to a prompt.
//!
//! Pure: text in, values out. Files are read by the caller, models are unknown here.
//!
//! ```text
//! suite.toml ──► document (spans) ──► keys (types, unknown keys) ──► Suite { tasks: Vec<Task> }
//! document of a data set + Task ──► fields ──► shots ──► Prompt + choices + gold = Item
//! ```

mod axes;
mod build;
mod document;
mod expression;
mod feedback;
mod item;
mod keys;
mod profile;
mod prompt;
mod protocol;
mod read;
mod schema;
pub mod shipped;
mod shots;
mod task;

pub use expression::{Expression, Jinja, Template};
pub use feedback::FeedbackTable;
pub use item::{Item, Question, TaskData, build_items};
pub use profile::{Lengths, LimitRule, PROFILES, Profile, ShotRule, Stderr, Tokenise};
pub use prompt::{Prompt, Turn};
pub use protocol::{List, Protocol};
pub use read::{DefinitionFile, Suite, read_suite, read_task};
pub use schema::schema;
pub use shots::choose_shots;
pub use task::{Data, Hub, Kind, Sampling, ShotOrder, Source, Task, Writing};
