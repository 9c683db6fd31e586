//! `narthex check config`.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use narthex_model::duration;
use narthex_node::{
    config::{Config, ConfigError, ConfigFile, ScrapeConfig, SecretSource},
    discovery::{FileError, read_groups},
};

use super::{CheckError, Verdict, rules, with_cause};
use crate::{
    flags::{CheckConfigArguments, Lint},
    output::{answer, complain},
    roles::parse_options,
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// Correct the file.
    #[error("{}", with_cause(.0))]
    Config(#[from] ConfigError),
    /// Correct the pattern.
    #[error("{pattern:?}: {source}")]
    Pattern { pattern: String, source: glob::PatternError },
    /// Write the file, or leave it out.
    #[error("{0:?} does not point to an existing file")]
    Absent(String),
    /// Write the file, or correct its name.
    #[error("error checking {what} file {file:?}: {source}")]
    Unreadable { what: &'static str, file: String, source: io::Error },
    /// Correct the file with targets.
    #[error("checking SD file {pattern:?}: {source}")]
    Targets { pattern: String, source: FileError },
}

/// Checks the files and, unless only their syntax counts, those that they name.
pub(super) fn check(arguments: &CheckConfigArguments) -> Result<ExitCode, CheckError> {
    let options = parse_options(&arguments.features)?;
    let mut verdict = Verdict::RIGHT;
    for file in &arguments.files {
        answer(&format!("Checking {}", file.display()))?;
        let found = Found::read(file, arguments.syntax_only);
        match &found {
            Ok(found) => found.print(file)?,
            Err(refusal) => complain(&format!("  FAILED: {refusal}")),
        }
        answer("")?;
        let Ok(found) = found else {
            verdict = verdict.and(Verdict::WRONG);
            continue;
        };
        verdict = verdict.and(found.lint(arguments));
        for file in &found.rule_files {
            verdict = verdict.and(rules::check_file(file, &options, &arguments.lint)?);
        }
    }
    Ok(verdict.code(arguments.lint.fatal))
}

/// What a configuration has.
struct Found {
    config: Config,
    warnings: Vec<String>,
    rule_files: Vec<PathBuf>,
}

impl Found {
    fn read(path: &Path, syntax_only: bool) -> Result<Self, Refusal> {
        let file = ConfigFile::read(path)?;
        let patterns = file.rule_files.clone();
        let config = if syntax_only { file.config } else { file.include()? };
        let without_effect = |section: &String| format!("{section} has no effect yet");
        let mut warnings: Vec<_> = config.inactive.iter().map(without_effect).collect();
        if syntax_only {
            return Ok(Self { config, warnings, rule_files: Vec::new() });
        }
        let rule_files = rule_files(&patterns)?;
        for job in &config.scrape_configs {
            check_secrets(job)?;
            warnings.extend(check_targets(job)?);
        }
        Ok(Self { config, warnings, rule_files })
    }

    fn print(&self, path: &Path) -> io::Result<()> {
        for warning in &self.warnings {
            answer(&format!("  WARNING: {warning}"))?;
        }
        if !self.rule_files.is_empty() {
            answer(&format!("  SUCCESS: {} rule files found", self.rule_files.len()))?;
        }
        answer(&format!("  SUCCESS: {} scrape jobs found", self.config.scrape_configs.len()))?;
        let name = path.display();
        answer(&format!(" SUCCESS: {name} is valid prometheus config file syntax"))
    }

    /// Looks for jobs whose samples queries do not see until the next ones come.
    fn lint(&self, arguments: &CheckConfigArguments) -> Verdict {
        let lookback = arguments.lookback_delta;
        let is_asked_for = arguments.lint.looks_for(Lint::TooLongScrapeInterval);
        let mut jobs = self.config.scrape_configs.iter();
        let slow = jobs.find(|job| !lookback.is_zero() && job.scrape_interval >= lookback);
        let Some(job) = slow.filter(|_| is_asked_for && !arguments.syntax_only) else {
            return Verdict::RIGHT;
        };
        let (name, interval) = (&job.job_name, duration::format(job.scrape_interval));
        complain(&format!(
            "  FAILED: too long scrape interval found, data point will be marked as stale - job: \
             {name}, interval: {interval}"
        ));
        Verdict::ODD
    }
}

/// The files that match. A pattern without an asterisk is a file, which must be there.
fn rule_files(patterns: &[String]) -> Result<Vec<PathBuf>, Refusal> {
    let mut files = Vec::new();
    for pattern in patterns {
        let found = matching(pattern)?;
        if found.is_empty() && !pattern.contains('*') {
            return Err(Refusal::Absent(pattern.clone()));
        }
        files.extend(found);
    }
    Ok(files)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, Refusal> {
    let wrong = |source| Refusal::Pattern { pattern: pattern.to_owned(), source };
    Ok(glob::glob(pattern).map_err(wrong)?.filter_map(Result::ok).collect())
}

/// Files with credentials must be there. A node that scrapes reads its own.
fn check_secrets(job: &ScrapeConfig) -> Result<(), Refusal> {
    let client = &job.client;
    let credentials = client.authorization.as_ref().and_then(|auth| auth.credentials.as_ref());
    let identity = client.tls.identity.as_ref();
    let sources = [
        ("authorization credentials or bearer token", credentials),
        ("client cert", identity.map(|identity| &identity.cert)),
        ("client key", identity.map(|identity| &identity.key)),
    ];
    for (what, source) in sources {
        let Some(SecretSource::File(file)) = source else { continue };
        std::fs::metadata(file).map_err(|source| Refusal::Unreadable {
            what,
            file: file.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Files with targets must be readable; a warning for each that is not there.
fn check_targets(job: &ScrapeConfig) -> Result<Vec<String>, Refusal> {
    let mut warnings = Vec::new();
    for pattern in job.file_sd_configs.iter().flat_map(|discovery| &discovery.files) {
        let files = matching(pattern)?;
        for file in &files {
            read_groups(file)
                .map_err(|source| Refusal::Targets { pattern: pattern.clone(), source })?;
        }
        if files.is_empty() {
            let name = &job.job_name;
            warnings.push(format!(
                "file {pattern:?} for file_sd in scrape job {name:?} does not exist"
            ));
        }
    }
    Ok(warnings)
}
