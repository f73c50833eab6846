//! Lists as documents.

use super::inventory::TRANSFORMATIONS;
use super::transformation::{Transformation, write_list};
use crate::lab::random::Stream;
use crate::lab::sealed::Sealed;
use crate::lab::skill::press::Press;

/// Fewest and most pairs of a list.
const PAIRS: (usize, usize) = (6, 9);

pub fn documents(press: &mut Press<'_>) {
    let sealed = press.sealed;
    for transformation in TRANSFORMATIONS {
        press.print(transformation.documents, |stream| write(stream, transformation, sealed));
    }
}

/// A list, with the transformation's name above it in one of two.
fn write(stream: &mut Stream, transformation: &Transformation, sealed: &Sealed) -> String {
    let mut lines: Vec<String> = Vec::new();
    let count = stream.between(PAIRS.0, PAIRS.1);
    while lines.len() < count {
        let line = transformation.line(&transformation.draw_query(stream));
        // Also together with the line before: an own text may span the two. A line that gets out a sealed text is
        // drawn again here, since whole lists of few words would nearly all hold one.
        let joined = format!("{}\n {line}", lines.last().map_or("", String::as_str));
        if !lines.contains(&line) && !sealed.occurs_in(&joined) {
            lines.push(line);
        }
    }
    let list = write_list(&lines);
    if stream.chance(0.5) { format!("{}:\n{list}", transformation.name) } else { list }
}
