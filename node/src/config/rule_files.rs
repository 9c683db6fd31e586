//! `rule_files`: read and checked when a configuration is imported, so that every node evaluates the
//! same rules whatever is on its disk.

use std::path::{Path, PathBuf};

use narthex_promql::ParseOptions;
use narthex_rules::RuleFile;
use narthex_yaml::Problem;

use super::{ConfigError, RuleFileText, file};

/// Bytes of all rule files together: cluster state keeps 4 MiB of configuration, in which line breaks
/// and quotes take two.
const RULE_BYTES_MAX: usize = 3 << 20;
/// Rules of one group: the parts of an evaluation are counted in 16 bits.
const GROUP_RULES_MAX: usize = 65_535;

/// The files that match any of the patterns, checked. A pattern that matches nothing is none.
pub(super) fn read(
    config: &Path,
    patterns: &[String],
    options: &ParseOptions,
) -> Result<Vec<RuleFileText>, ConfigError> {
    let invalid = |problem| ConfigError::Invalid { path: config.to_owned(), problem };
    let mut files: Vec<RuleFileText> = Vec::new();
    for path in file::matching_files(patterns, "rule").map_err(invalid)? {
        let name = path.to_string_lossy().into_owned();
        // Patterns may overlap; Prometheus takes each file once.
        if files.iter().any(|known| known.path == name) {
            continue;
        }
        let text = file::read(&path)?;
        check(&path, &text, options)?;
        files.push(RuleFileText { path: name, text });
    }
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    if bytes > RULE_BYTES_MAX {
        return Err(invalid(Problem::new(format!(
            "rule files have {bytes} bytes in all, more than the {RULE_BYTES_MAX} that a cluster keeps"
        ))));
    }
    Ok(files)
}

fn check(path: &Path, text: &str, options: &ParseOptions) -> Result<(), ConfigError> {
    let wrong = |problems| ConfigError::Rules { path: PathBuf::from(path), problems };
    let read = RuleFile::parse(text, options).map_err(wrong)?;
    match read.groups.iter().find(|group| group.rules.len() > GROUP_RULES_MAX) {
        Some(group) => Err(wrong(vec![Problem::new(format!(
            "group {:?} has {} rules, more than the {GROUP_RULES_MAX} that one may have",
            group.name,
            group.rules.len()
        ))])),
        None => Ok(()),
    }
}
