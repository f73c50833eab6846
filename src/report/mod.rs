//! Scores for people: a table, a page. Works from run folders alone.

mod html;
mod svg;
mod view;

pub use html::page;
pub use view::{Cell, Column, Line, View, count};
