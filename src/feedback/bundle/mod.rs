//! A feedback set: the items of some tasks that a trainer may know of, and what their gradients are at some checkpoints.
//!
//! ```text
//! suite ─► all items ─► Split ─► feedback items (chosen) ─► items.jsonl
//!                          └─► sealed items (measured)        │ reverse pass, item by item, at each checkpoint
//!                                                             ▼
//!                          gradsets/CHECKPOINT/target_TASK.safetensors          mean over the items
//!                          gradsets/CHECKPOINT/parts/TASK.K.safetensors         means over K random parts of them
//! ```
//! The loss of a task is the mean over its items of the mean negative log-likelihood of the answer's tokens, in nats
//! (V-Pretraining, arXiv 2601.22108, section 3). Files are whole or not there: the folder is written beside its place and
//! renamed. `manifest.json` says what everything is of, and the fingerprint of every other file.
//!
//! | file | what |
//! | --- | --- |
//! | `manifest.json` | [`Manifest`], `format = "veval.feedback/1"` |
//! | `items.jsonl` | [`ItemLine`]s: task, item id, part, context and answer, token ids, first token of the answer |
//! | `gradsets/` | gradient sets ([`super::gradset`]) under the checkpoint's own parameter names |
//! | `grads/CHECKPOINT/` | projected gradients of the items ([`super::store`]), in the order of `items.jsonl` |

mod choose;
mod declare;
mod gradients;
mod manifest;
mod open;
mod write;

pub use choose::{Chosen, ChosenTarget, Wish, choose};
pub use declare::{Declarations, declared};
pub use gradients::{PartGradients, gram, half_mean, item_gradient, mean, part_gradients};
pub use manifest::{
    CheckpointNote, FORMAT, FileNote, ItemLine, LOSS, Manifest, SplitNote, SuiteNote, TargetAt, TargetNote,
};
pub use open::{At, Bundle};
pub use write::{AtCheckpoint, write};
