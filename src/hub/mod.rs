//! Models and data sets from the Hugging Face hub.
//!
//! An [`Address`] such as `hf://dataset/owner/name@revision/path` becomes a path on this machine. The cache comes first,
//! and its layout is that of Python's `huggingface_hub`: what one of the two has fetched, the other has. Only a build
//! with the feature `hub` knows the network; any build reads the cache.
//!
//! What a server says is not believed. Metadata (commit, hash, size) come from the endpoint alone; contents may come
//! from any host that it points to, without the token, and take their place in the cache when length and hash are
//! right. A cut connection goes on where it stopped, also in the next process.
//!
//! ```no_run
//! use veval::hub::{Settings, fetch_model};
//!
//! let address = "hf://model/EleutherAI/pythia-70m@step1000".parse()?;
//! let folder = fetch_model(&address, &Settings::from_environment()?, &mut |_| {})?;
//! # Ok::<(), veval::Error>(())
//! ```

mod address;
mod cache;
mod checkpoint;
#[cfg(feature = "hub")]
mod digest;
#[cfg(feature = "hub")]
mod download;
mod event;
mod fetch;
#[cfg(feature = "hub")]
mod keep;
#[cfg(feature = "hub")]
mod lookup;
#[cfg(not(feature = "hub"))]
mod no_remote;
#[cfg(feature = "hub")]
mod refusal;
#[cfg(feature = "hub")]
mod remote;
#[cfg(not(feature = "hub"))]
use no_remote as remote;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(feature = "hub")]
mod transport;
#[cfg(feature = "hub")]
mod url;

pub use address::{Address, Commit, Repo, RepoKind, RepoPath, Revision, is_address};
pub use event::{Event, Events};
pub use fetch::{cached_file, cached_model, fetch_file, fetch_model, pinned, pull};
pub use settings::{Patience, Settings, Token};
