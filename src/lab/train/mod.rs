//! The trainer: from documents and a mixture to a series of checkpoints, the same bytes each time.

mod adamw;
mod checkpoint;
mod clip;
mod copies;
mod curve;
mod curve_svg;
mod deal;
mod gradient;
mod mixture;
mod mixture_file;
mod model;
mod npy;
mod order;
mod order_file;
mod plan;
mod schedule;
mod stream;
mod tokenizer;
mod trainer;

pub use adamw::{AdamW, Moments, Updated, decays};
pub use checkpoint::{Companions, Precision, Progress, Shapes, State};
pub use clip::{Clip, NamedGradient};
pub use copies::{Copies, DocumentName, copy_chance};
pub use curve::{Curve, CurveFile, CurvePoint};
pub use curve_svg::{StepAxis, draw as draw_curve};
pub use gradient::{BatchGradient, Parameters, batch_gradient};
pub use mixture::{Mixture, MixtureSource, Stage};
pub use mixture_file::{MixtureFile, Shares, SourceRecord, StageRecord, Trust};
pub use model::Shape;
pub use order::{Batch, Exposure, Order, Plan as OrderPlan, TokenSequence, TrainingDocument};
pub use order_file::OrderFile;
pub use plan::{BatchSize, Checkpoints, Plan, TokenizerSource, Training};
pub use schedule::{DecayShape, Schedule, ScheduleSettings};
pub use stream::Piece;
pub use tokenizer::{END, encode, end_token, train as train_tokenizer};
pub use trainer::{Step, Trainer};
