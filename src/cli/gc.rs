//! `veval gc`: room from answers that no run refers to.

use super::args::GcArguments;
use super::print;
use crate::error::Result;
use crate::store::{Swept, sweep};

pub(super) fn gc(arguments: &GcArguments) -> Result<()> {
    let swept = sweep(&arguments.out, arguments.dry_run)?;
    let mut text = String::new();
    for file in &swept {
        let what = match file {
            Swept::Removed { .. } => "no run of this model",
            Swept::Rewritten { .. } => "damaged or doubled records",
            Swept::InUse { .. } => "left alone: in use",
        };
        text += &format!("{}: {what}, {} bytes\n", file.path().display(), file.freed());
    }
    let freed: u64 = swept.iter().map(Swept::freed).sum();
    text += &format!("{} bytes {}\n", freed, if arguments.dry_run { "would be freed" } else { "freed" });
    print(&text)
}
