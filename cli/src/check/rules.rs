//! `narthex check rules`.

use std::{fmt::Display, io, path::Path, process::ExitCode};

use narthex_promql::ParseOptions;
use narthex_rules::{RuleFile, duplicates};

use super::{CheckError, Verdict, is_stdin, stdin};
use crate::{
    flags::{CheckRulesArguments, Lint, LintFlags},
    output::{answer, complain},
    roles::parse_options,
};

/// Checks the files, or standard input where there are none.
pub(super) fn check(arguments: &CheckRulesArguments) -> Result<ExitCode, CheckError> {
    let options = parse_options(&arguments.features)?;
    let mut verdict = Verdict::RIGHT;
    if arguments.files.is_empty() {
        verdict = check_file(Path::new("-"), &options, &arguments.lint)?;
    }
    for file in &arguments.files {
        verdict = verdict.and(check_file(file, &options, &arguments.lint)?);
    }
    Ok(verdict.code(arguments.lint.fatal))
}

/// Checks one file and prints what comes of it.
pub(super) fn check_file(
    file: &Path,
    options: &ParseOptions,
    lint: &LintFlags,
) -> io::Result<Verdict> {
    let name = match is_stdin(file) {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    answer(&format!("Checking {name}"))?;
    let rules = match load(file, options) {
        Ok(rules) => rules,
        Err(problems) => {
            complain("  FAILED:");
            problems.iter().for_each(|problem| complain(problem));
            return Ok(Verdict::WRONG);
        }
    };
    let verdict = match finding(&rules, lint) {
        Some(finding) => {
            complain("  FAILED:");
            complain(&finding);
            Verdict::ODD
        }
        None => {
            answer(&format!("  SUCCESS: {} rules found", rules.rule_count()))?;
            Verdict::RIGHT
        }
    };
    answer("")?;
    Ok(verdict)
}

/// The rules of a file, or what is wrong with it, a line each.
pub fn load(file: &Path, options: &ParseOptions) -> Result<RuleFile, Vec<String>> {
    let of_file = |problem: &dyn Display| match is_stdin(file) {
        true => problem.to_string(),
        false => format!("{}: {problem}", file.display()),
    };
    let text = read(file).map_err(|error| vec![of_file(&error)])?;
    RuleFile::parse(&text, options)
        .map_err(|problems| problems.iter().map(|problem| of_file(problem)).collect())
}

fn read(file: &Path) -> io::Result<String> {
    let bytes = if is_stdin(file) { stdin()? } else { std::fs::read(file)? };
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "yaml: invalid UTF-8"))
}

/// What is valid in the rules and probably not meant.
fn finding(rules: &RuleFile, lint: &LintFlags) -> Option<String> {
    if !lint.looks_for(Lint::DuplicateRules) {
        return None;
    }
    let duplicates = duplicates(&rules.groups);
    if duplicates.is_empty() {
        return None;
    }
    let mut text = format!("lint error {} duplicate rule(s) found.\n", duplicates.len());
    for duplicate in duplicates {
        text += &format!("Metric: {}\nLabel(s):\n", duplicate.name);
        for (name, value) in duplicate.labels.iter() {
            text += &format!("\t{name}: {value}\n");
        }
    }
    text.push_str("Might cause inconsistency while recording expressions");
    Some(text)
}
