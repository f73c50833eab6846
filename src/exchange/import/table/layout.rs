//! Roles and a header become places: which cells of a row make a score.

use std::collections::BTreeMap;

use super::CsvImport;
use super::pattern::{Filled, Pattern};
use super::role::{Column, ROLES, Role};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::suggest::nearest;

/// Columns of one file by what they say.
#[derive(Debug)]
pub(super) struct Layout {
    /// Columns of a role that says whose score it is; several are joined.
    pub about: BTreeMap<Role, Vec<usize>>,
    pub constants: BTreeMap<Role, String>,
    /// The scores of a row.
    pub measures: Vec<Measure>,
    pub header: Vec<String>,
}

/// One score of every row.
#[derive(Debug)]
pub(super) struct Measure {
    pub value: usize,
    pub stderr: Option<usize>,
    pub ci_lo: Option<usize>,
    pub ci_hi: Option<usize>,
    pub n: Option<usize>,
    /// From the column's name, where that holds it.
    pub task: Option<String>,
    pub metric: Option<String>,
}

/// Columns that a message lists.
const LISTED: usize = 12;

impl Layout {
    /// Finds the columns. A column that is called like a role has it, unless the request says otherwise.
    pub fn new(request: &CsvImport, header: Vec<String>, problems: &mut Vec<Diagnostic>) -> Self {
        let mut layout =
            Self { about: BTreeMap::new(), constants: BTreeMap::new(), measures: Vec::new(), header: Vec::new() };
        for constant in &request.constants {
            if layout.constants.insert(constant.role, constant.value.clone()).is_some() {
                problems.push(Diagnostic::new(format!("expected one value for {}, found two", constant.role.name())));
            }
        }
        let taken = |role: Role| {
            request.columns.iter().any(|column| column.role == role) || layout.constants.contains_key(&role)
        };
        let own = ROLES.iter().filter(|(name, role)| !taken(*role) && header.iter().any(|column| column == name));
        let own = own.map(|(name, role)| Column { role: *role, metric: None, name: (*name).to_owned() });
        let columns: Vec<Column> = request.columns.iter().cloned().chain(own).collect();
        layout.header = header;
        layout.find_about(&columns, problems);
        layout.find_values(&columns, problems);
        for role in [Role::Stderr, Role::CiLo, Role::CiHi, Role::N] {
            layout.find_beside(role, &columns, problems);
        }
        if !layout.has(Role::Task) && layout.measures.iter().any(|measure| measure.task.is_none()) {
            let problem = Diagnostic::new("expected the name of a task for every score, found none");
            problems.push(problem.help("name its column with --column task=NAME, put {task} into the name of the value's column, or say --set task=NAME"));
        }
        layout
    }

    /// Whether a role has a column or a constant.
    fn has(&self, role: Role) -> bool {
        self.about.contains_key(&role) || self.constants.contains_key(&role)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    fn absent(&self, name: &str) -> Diagnostic {
        let problem = Diagnostic::new(format!("expected a column {name:?}, found none"));
        match nearest(name, self.header.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean {near:?}?")),
            None => problem.help(format!("the columns are {}", self.listed())),
        }
    }

    fn listed(&self) -> String {
        let names: Vec<&str> = self.header.iter().take(LISTED).map(String::as_str).collect();
        let more = self.header.len().saturating_sub(LISTED);
        names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    }

    fn find_about(&mut self, columns: &[Column], problems: &mut Vec<Diagnostic>) {
        for column in columns.iter().filter(|column| !column.role.is_measured()) {
            let role = column.role.name();
            match self.index(&column.name) {
                None => problems.push(self.absent(&column.name)),
                Some(_) if self.constants.contains_key(&column.role) => {
                    problems.push(Diagnostic::new(format!("expected a column or a value for {role}, found both")));
                }
                Some(_) if !column.role.joins() && self.about.contains_key(&column.role) => {
                    problems.push(Diagnostic::new(format!("expected one column for {role}, found two")));
                }
                Some(index) => self.about.entry(column.role).or_default().push(index),
            }
        }
    }

    fn find_values(&mut self, columns: &[Column], problems: &mut Vec<Diagnostic>) {
        let values: Vec<&Column> = columns.iter().filter(|column| column.role == Role::Value).collect();
        if values.is_empty() {
            let problem = Diagnostic::new("expected a column with values, found none");
            problems.push(problem.help(format!("name it with --column value=NAME; the columns are {}", self.listed())));
        }
        for column in values.iter().copied() {
            let found = match self.matching(column) {
                Ok(found) => found,
                Err(error) => {
                    problems.extend(error.into_diagnostics());
                    continue;
                }
            };
            for (value, filled) in found {
                let own = filled.metric.or_else(|| column.metric.clone());
                if own.is_some() == self.has(Role::Metric) {
                    let name = &self.header[value];
                    problems.push(match own {
                        Some(metric) => Diagnostic::new(format!(
                            "expected one name for the metric of {name:?}, found {metric:?} and another column or value"
                        )),
                        None => Diagnostic::new(format!("expected the name of the metric of {name:?}, found none"))
                            .help(format!("--column value:METRIC={name}, --column metric=NAME, or --set metric=NAME")),
                    });
                    break;
                }
                if own.is_none() && values.len() > 1 {
                    let problem = "expected one column with values beside a column of metrics, found several";
                    problems.push(Diagnostic::new(problem));
                    break;
                }
                let (task, metric) = (filled.task, own);
                let measure = Measure { value, stderr: None, ci_lo: None, ci_hi: None, n: None, task, metric };
                self.measures.push(measure);
            }
        }
        if self.has(Role::Task) && self.measures.iter().any(|measure| measure.task.is_some()) {
            problems.push(Diagnostic::new("expected a column or value for task, or {task} in a name, found both"));
        }
    }

    /// Columns that a name or pattern stands for.
    fn matching(&self, column: &Column) -> Result<Vec<(usize, Filled)>> {
        if let Some(index) = self.index(&column.name) {
            return Ok(vec![(index, Filled::default())]);
        }
        let Some(pattern) = Pattern::parse(&column.name).map_err(Error::bad)? else {
            return Err(Error::all(vec![self.absent(&column.name)]));
        };
        let fits = |(index, name): (usize, &String)| Some((index, pattern.fill(name)?));
        let found: Vec<_> = self.header.iter().enumerate().filter_map(fits).collect();
        if found.is_empty() {
            let error = Error::bad(format!("expected columns such as {:?}, found none", column.name));
            return Err(error.help(format!("the columns are {}", self.listed())));
        }
        Ok(found)
    }

    /// Errors, bounds and counts stand beside the values that they belong to.
    fn find_beside(&mut self, role: Role, columns: &[Column], problems: &mut Vec<Diagnostic>) {
        for column in columns.iter().filter(|column| column.role == role) {
            let plain = self.index(&column.name);
            let pattern = match Pattern::parse(&column.name) {
                Ok(pattern) => pattern.filter(|_| plain.is_none()),
                Err(message) => {
                    problems.push(Diagnostic::new(message));
                    continue;
                }
            };
            let mut found = Vec::new();
            for (index, measure) in self.measures.iter().enumerate() {
                if column.metric.is_some() && column.metric != measure.metric {
                    continue;
                }
                let (task, metric) = (measure.task.as_deref(), measure.metric.as_deref());
                let place = match &pattern {
                    Some(pattern) => self.index(&pattern.name(task.unwrap_or(""), metric.unwrap_or(""))),
                    None => plain,
                };
                found.extend(place.map(|place| (index, place)));
            }
            if found.is_empty() {
                problems.push(self.absent(&column.name));
            } else if pattern.is_none() && found.len() > 1 && role != Role::N {
                let name = role.name();
                let problem = Diagnostic::new(format!("expected the metric that {:?} belongs to", column.name));
                problems.push(problem.help(format!("--column {name}:METRIC={}", column.name)));
            }
            for (index, place) in found {
                let measure = &mut self.measures[index];
                let slot = match role {
                    Role::Stderr => &mut measure.stderr,
                    Role::CiLo => &mut measure.ci_lo,
                    Role::CiHi => &mut measure.ci_hi,
                    _ => &mut measure.n,
                };
                if slot.replace(place).is_some() {
                    problems.push(Diagnostic::new(format!("expected one column for {}, found two", role.name())));
                }
            }
        }
    }
}
