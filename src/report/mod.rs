//! Scores for people: a table, a page. Works from run folders alone.

mod feedback;
mod html;
mod svg;
mod view;

pub use feedback::FeedbackView;
pub use html::page;
pub use view::{Cell, Column, Line, View, count};
