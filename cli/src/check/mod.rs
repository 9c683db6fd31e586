//! `narthex check`: files and pages before they are used, with promtool's words and exit codes.
//!
//! What is in order goes to standard output, what is not to standard error. The exit code is 1
//! where something is wrong, and 3 where something is only odd and that was asked to be fatal.

mod config;
mod metrics;
mod rules;
mod web_config;

use std::{error::Error, io, path::Path, process::ExitCode};

pub use rules::load as load_rules;

use crate::{flags::CheckArguments, roles::UnknownFeature};

/// The exit code of promtool for findings that are no errors.
const ODD: u8 = 3;

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Correct `--enable-feature`.
    #[error(transparent)]
    Feature(#[from] UnknownFeature),
    #[error("read standard input")]
    Stdin(#[source] io::Error),
    #[error("print the result")]
    Print(#[from] io::Error),
}

/// Checks what the arguments say.
pub fn run(arguments: &CheckArguments) -> Result<ExitCode, CheckError> {
    match arguments {
        CheckArguments::Config(arguments) => config::check(arguments),
        CheckArguments::Rules(arguments) => rules::check(arguments),
        CheckArguments::Metrics => metrics::check(),
        CheckArguments::WebConfig { files } => web_config::check(files),
    }
}

/// What checks have found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Verdict {
    /// Something cannot be used.
    is_wrong: bool,
    /// Something can be used and is probably not meant.
    is_odd: bool,
}

impl Verdict {
    const RIGHT: Self = Self { is_wrong: false, is_odd: false };
    const WRONG: Self = Self { is_wrong: true, is_odd: false };
    const ODD: Self = Self { is_wrong: false, is_odd: true };

    fn and(self, other: Self) -> Self {
        Self { is_wrong: self.is_wrong || other.is_wrong, is_odd: self.is_odd || other.is_odd }
    }

    fn code(self, odd_is_fatal: bool) -> ExitCode {
        match self {
            Self { is_wrong: true, .. } => ExitCode::FAILURE,
            Self { is_odd: true, .. } if odd_is_fatal => ExitCode::from(ODD),
            _ => ExitCode::SUCCESS,
        }
    }
}

/// The name of standard input among files.
fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::stdin().lock(), &mut bytes)?;
    Ok(bytes)
}

/// An error with what lies behind it, on one line.
fn with_cause(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
