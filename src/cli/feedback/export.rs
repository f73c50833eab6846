//! `veval feedback export`: a mixture in the files of trainers.

use std::fmt::Write as _;

use crate::cli::args::FeedbackExportArguments;
use crate::cli::{print, printable};
use crate::error::{Error, Result};
use crate::feedback::mix::Run;
use crate::feedback::trainers::{Blend, Export, ExportSettings, TRAINERS, Trainer, export, find};
use crate::lab::train::MixtureFile;

pub(super) fn export_to(arguments: &FeedbackExportArguments) -> Result<()> {
    let file = MixtureFile::read(&arguments.mixture)?;
    let run = Run::of(&file, arguments.total_tokens, arguments.sequence_length)
        .map_err(|error| error.in_file(&arguments.mixture))?;
    let settings = ExportSettings { run, batch_sequences: arguments.batch_sequences, seed: arguments.seed };
    let blend = Blend::new(&file, settings).map_err(|error| error.in_file(&arguments.mixture))?;
    let trainers: Vec<&'static Trainer> = if arguments.trainers.is_empty() {
        TRAINERS.to_vec()
    } else {
        arguments.trainers.iter().map(|name| find(name)).collect::<Result<_>>()?
    };
    // All of them, or none.
    let (mut exports, mut problems) = (Vec::new(), Vec::new());
    for trainer in trainers {
        match export(trainer, &blend) {
            Ok(made) => exports.push(made),
            Err(error) => problems.extend(error.at(trainer.name).into_diagnostics()),
        }
    }
    Error::check(problems).map_err(|error| error.in_file(&arguments.mixture))?;
    let mut text = String::new();
    for made in &exports {
        let folder = arguments.out.join(made.trainer.replace('-', "_"));
        made.write(&folder)?;
        let _ = writeln!(text, "{}: {}", folder.display(), made.unit.words());
        text += &achieved(made, &blend);
    }
    print(&text)
}

/// What a trainer's sampler makes of each stage, and what it cannot be told.
fn achieved(made: &Export, blend: &Blend) -> String {
    let mut text = String::new();
    for stage in &made.achieved {
        let (source, gap) = &stage.deviation;
        let named = blend.sources.iter().zip(&stage.shares);
        let shares: Vec<String> =
            named.map(|(source, share)| format!("{} {share:.4}", printable(&source.name))).collect();
        let _ = writeln!(
            text,
            "  {}: tokens of {}; {gap:.1e} off at most, for {}",
            printable(&stage.stage),
            shares.join(", "),
            printable(source)
        );
    }
    for warning in &made.warnings {
        let _ = writeln!(text, "  warning: {}", printable(warning));
    }
    text
}
