//! `narthex check metrics`.

use std::process::ExitCode;

use narthex_exposition::lint;

use super::{CheckError, Verdict, stdin};
use crate::output::complain;

/// Checks the page on standard input.
pub(super) fn check() -> Result<ExitCode, CheckError> {
    let page = stdin().map_err(CheckError::Stdin)?;
    let findings = match lint(&page) {
        Ok(findings) => findings,
        Err(error) => {
            complain(&format!("error while linting: {error}"));
            return Ok(Verdict::WRONG.code(true));
        }
    };
    for finding in &findings {
        complain(&format!("{} {}", finding.metric, finding.text));
    }
    let verdict = if findings.is_empty() { Verdict::RIGHT } else { Verdict::ODD };
    Ok(verdict.code(true))
}
