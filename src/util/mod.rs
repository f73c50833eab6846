//! Small tools without knowledge of the domain.

pub mod files;
pub mod hash;
pub mod jinja;
pub mod markup;
pub mod npy;
pub mod numpy_pcg64;
pub mod parallel;
pub mod philox;
pub mod python;
pub mod python_random;
pub mod step_name;
pub mod suggest;
