//! `narthex check web-config`.

use std::{path::PathBuf, process::ExitCode};

use narthex_web::{Tls, WebFile};

use super::{CheckError, Verdict, with_cause};
use crate::output::complain;

/// Checks the files and the certificates that they name. As by promtool, all that is said goes to
/// standard error.
pub(super) fn check(files: &[PathBuf]) -> Result<ExitCode, CheckError> {
    let mut verdict = Verdict::RIGHT;
    for file in files {
        let name = file.display();
        match WebFile::open(file).and_then(|file| Tls::open(&file)) {
            Ok(_) => complain(&format!("{name} SUCCESS")),
            Err(error) => {
                complain(&format!("{name} FAILED: {}", with_cause(&error)));
                verdict = verdict.and(Verdict::WRONG);
            }
        }
    }
    Ok(verdict.code(true))
}
