//! What the columns of a table mean: `--column step=_step`, `--column value:acc=acc`, `--set shots=5`.

use std::str::FromStr;

use crate::util::suggest::nearest;

/// What a cell says about a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The training run.
    Series,
    Checkpoint,
    /// Optimizer steps.
    Step,
    /// Training tokens seen.
    Tokens,
    Task,
    /// A part of the task's items, told by the column's name and value.
    Slice,
    /// What was taken from an answer before it was compared.
    Filter,
    /// Examples before each question.
    Shots,
    Metric,
    Value,
    Stderr,
    /// Bounds of the 95 % interval.
    CiLo,
    CiHi,
    /// Items.
    N,
    /// The rules under which the score was made.
    Profile,
}

/// Every role with its name.
pub(super) const ROLES: [(&str, Role); 15] = [
    ("series", Role::Series),
    ("checkpoint", Role::Checkpoint),
    ("step", Role::Step),
    ("tokens", Role::Tokens),
    ("task", Role::Task),
    ("slice", Role::Slice),
    ("filter", Role::Filter),
    ("shots", Role::Shots),
    ("metric", Role::Metric),
    ("value", Role::Value),
    ("stderr", Role::Stderr),
    ("ci_lo", Role::CiLo),
    ("ci_hi", Role::CiHi),
    ("n", Role::N),
    ("profile", Role::Profile),
];

/// One column and its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub role: Role,
    /// The metric whose value, error, bound or count the column holds, where the table has a column for each metric.
    pub metric: Option<String>,
    /// The column's name; for values, errors, bounds and counts also a pattern with `{task}` and `{metric}`.
    pub name: String,
}

/// What holds for every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    pub role: Role,
    pub value: String,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        ROLES.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }

    /// Whether a table can have such a column for each metric.
    pub(super) fn is_measured(self) -> bool {
        matches!(self, Self::Value | Self::Stderr | Self::CiLo | Self::CiHi | Self::N)
    }

    /// Whether several columns together say it.
    pub(super) fn joins(self) -> bool {
        matches!(self, Self::Series | Self::Checkpoint | Self::Task | Self::Slice | Self::Metric)
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, role)) = ROLES.iter().find(|(name, _)| *name == text) {
            return Ok(*role);
        }
        let names = ROLES.map(|(name, _)| name);
        Err(match nearest(text, names) {
            Some(near) => format!("expected a role, found {text:?}; did you mean `{near}`?"),
            None => format!("expected one of {}, found {text:?}", names.join(", ")),
        })
    }
}

impl FromStr for Column {
    type Err = String;

    /// `ROLE=NAME`, or `ROLE:METRIC=NAME` for the columns of one metric of several.
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, name) = text.split_once('=').ok_or("expected ROLE=COLUMN, such as step=_step")?;
        let (role, metric) = match role.split_once(':') {
            Some((role, metric)) => (role.parse::<Role>()?, Some(metric.to_owned())),
            None => (role.parse()?, None),
        };
        if name.is_empty() || metric.as_deref() == Some("") {
            return Err("expected ROLE=COLUMN or ROLE:METRIC=COLUMN, found an empty name".to_owned());
        }
        if metric.is_some() && !role.is_measured() {
            return Err(format!("expected a metric only for value, stderr, ci_lo, ci_hi and n, found {text:?}"));
        }
        Ok(Self { role, metric, name: name.to_owned() })
    }
}

impl FromStr for Constant {
    type Err = String;

    /// `ROLE=VALUE`
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, value) = text.split_once('=').ok_or("expected ROLE=VALUE, such as shots=5")?;
        let role: Role = role.parse()?;
        if matches!(role, Role::Value | Role::Stderr | Role::CiLo | Role::CiHi) {
            return Err(format!("expected a column for {}: --column {}=NAME", role.name(), role.name()));
        }
        Ok(Self { role, value: value.to_owned() })
    }
}
