//! A configuration file on disk, and the files it includes.

use std::path::{Path, PathBuf};

use narthex_yaml::Problem;

use super::{Config, ConfigError, ParsedFile, Surroundings};

/// A checked configuration file, of whose included files none was read yet.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    /// What the file itself says.
    pub config: Config,
    /// Patterns of files with rules, as absolute paths. [`load`](super::load) reads those files.
    pub rule_files: Vec<String>,
    scrape_config_files: Vec<String>,
}

impl ConfigFile {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let parsed = surrounded(path, |surroundings| super::parse_file(&text, surroundings))?;
        let ParsedFile { config, scrape_config_files, rule_files } = parsed;
        Ok(Self { path: path.to_owned(), config, rule_files, scrape_config_files })
    }

    /// The configuration with the jobs of the files that it includes.
    pub fn include(self) -> Result<Config, ConfigError> {
        let Self { path, mut config, scrape_config_files, .. } = self;
        let invalid = |problem| ConfigError::Invalid { path: path.clone(), problem };
        for included in matching_files(&scrape_config_files, "scrape config").map_err(invalid)? {
            let text = read(&included)?;
            let jobs = surrounded(&path, |surroundings| {
                super::parse_included(&text, &config.global, surroundings)
            });
            let jobs = jobs.map_err(|error| match error {
                ConfigError::Invalid { problem, .. } => {
                    ConfigError::Invalid { path: included.clone(), problem }
                }
                other => other,
            })?;
            config.scrape_configs.extend(jobs);
        }
        super::check_job_names(&config.scrape_configs).map_err(invalid)?;
        Ok(config)
    }
}

/// Parses with the environment of this process and with paths that start from `path`'s folder.
fn surrounded<T>(
    path: &Path,
    parse: impl FnOnce(&Surroundings<'_>) -> Result<T, Problem>,
) -> Result<T, ConfigError> {
    let environment = |name: &str| std::env::var(name).ok();
    let absolute = std::path::absolute(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let surroundings = Surroundings { folder, environment: &environment };
    parse(&surroundings).map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })
}

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| ConfigError::Invalid {
        path: path.to_owned(),
        problem: Problem::new("yaml: invalid UTF-8"),
    })
}

/// The files that match a pattern, each pattern's in order of their names.
pub(super) fn matching_files(patterns: &[String], what: &str) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for pattern in patterns {
        let paths = glob::glob(pattern)
            .map_err(|_| Problem::new(format!("invalid {what} file path {pattern:?}")))?;
        files.extend(paths.filter_map(Result::ok));
    }
    Ok(files)
}
