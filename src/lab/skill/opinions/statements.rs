//! Statements that somebody may agree with: an issue of an axis, a side of it, a wording.

use serde::Serialize;

/// An axis of opinion.
#[derive(Debug)]
pub struct Axis {
    pub name: &'static str,
    /// What a coordinate of 1 stands for.
    pub plus: &'static str,
    /// What a coordinate of -1 stands for.
    pub minus: &'static str,
    issues: [&'static str; 10],
    /// Wordings of the side of 1 and of that of -1; `{}` is the issue.
    wordings: [[&'static str; 3]; 2],
}

/// The axes, in the order of an author's coordinates.
pub const AXES: [Axis; 2] = [
    Axis {
        name: "sharing",
        plus: "everybody's",
        minus: "each family's own",
        issues: ["orchards", "wells", "boats", "barns", "ovens", "tools", "gardens", "mills", "ponds", "fields"],
        wordings: [
            ["All {} should be shared.", "The {} are there for everybody.", "Nobody should keep {} alone."],
            ["Each family needs its own {}.", "Shared {} are a bad thing.", "The {} should have one owner."],
        ],
    },
    Axis {
        name: "custom",
        plus: "the old ways",
        minus: "new ways",
        issues: ["songs", "dances", "games", "tales", "hats", "drums", "feasts", "roads", "rules", "clocks"],
        wordings: [
            ["The old {} are the best.", "We should keep our old {}.", "Our children need the old {}."],
            ["It is time for new {}.", "New {} make us glad.", "We have had the old {} too long."],
        ],
    },
];

/// A statement and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    pub text: String,
    /// Number of the axis.
    pub axis: usize,
    /// 1 or -1: the coordinate's sign of those who agree.
    pub sign: i8,
}

/// All of an axis and a side.
pub fn side(axis: usize, sign: i8) -> Vec<Statement> {
    let wordings = AXES[axis].wordings[usize::from(sign < 0)];
    let texts = AXES[axis].issues.iter().flat_map(|issue| wordings.map(|wording| wording.replace("{}", issue)));
    texts.map(|text| Statement { text, axis, sign }).collect()
}

/// All of them: 120.
pub fn statements() -> Vec<Statement> {
    [(0, 1), (0, -1), (1, 1), (1, -1)].into_iter().flat_map(|(axis, sign)| side(axis, sign)).collect()
}
