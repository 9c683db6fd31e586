//! `narthex test rules`: unit tests of rules, in promtool's format and with its words.

mod junit;

use std::{
    io,
    path::{Path, PathBuf},
};

use narthex_model::{InvalidRegex, SearchRegex};
use narthex_rules::{
    RuleGroup,
    unit_test::{self, Test, TestFile, TestOptions},
};

use crate::{
    check::load_rules,
    flags::TestRulesArguments,
    output::{answer, complain},
    roles::{UnknownFeature, has_delayed_name_removal, parse_options},
};

/// Why tests were not run to their end.
#[derive(Debug, thiserror::Error)]
pub enum RulesTestError {
    /// Correct `--enable-feature`.
    #[error(transparent)]
    Feature(#[from] UnknownFeature),
    /// Correct `--run`.
    #[error("--run {pattern:?}")]
    Pattern {
        pattern: String,
        #[source]
        source: InvalidRegex,
    },
    /// Make the folder writable, or name another file.
    #[error("write {}", path.display())]
    Report {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("print the result")]
    Print(#[from] io::Error),
}

/// Runs the tests of all files and prints what failed. True if nothing did.
pub fn run(arguments: &TestRulesArguments) -> Result<bool, RulesTestError> {
    let runner = Runner {
        options: TestOptions {
            parse: parse_options(&arguments.features)?,
            delayed_name_removal: has_delayed_name_removal(&arguments.features),
        },
        names: arguments
            .run
            .iter()
            .map(|pattern| name_pattern(pattern))
            .collect::<Result<_, _>>()?,
    };
    let mut suites = Vec::with_capacity(arguments.files.len());
    for file in &arguments.files {
        answer(&format!("Unit Testing:  {}", file.display()))?;
        let suite = runner.suite(file);
        let mut failures = suite.failures().peekable();
        if failures.peek().is_none() {
            answer("  SUCCESS")?;
        } else {
            complain("  FAILED:");
        }
        for failure in failures {
            complain(failure);
            answer("")?;
        }
        answer("")?;
        suites.push(suite);
    }
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit::document(&suites))
            .map_err(|source| RulesTestError::Report { path: path.clone(), source })?;
    }
    Ok(suites.iter().all(|suite| suite.failures().next().is_none()))
}

fn name_pattern(pattern: &str) -> Result<SearchRegex, RulesTestError> {
    SearchRegex::new(pattern)
        .map_err(|source| RulesTestError::Pattern { pattern: pattern.to_owned(), source })
}

/// What became of one file.
struct Suite {
    /// The file.
    name: String,
    /// What kept its tests from being run.
    errors: Vec<String>,
    cases: Vec<Case>,
}

/// What became of one test.
struct Case {
    name: String,
    failures: Vec<String>,
}

impl Suite {
    /// Everything that went wrong.
    fn failures(&self) -> impl Iterator<Item = &str> {
        let of_cases = self.cases.iter().flat_map(|case| &case.failures);
        self.errors.iter().chain(of_cases).map(String::as_str)
    }
}

struct Runner {
    options: TestOptions,
    /// Patterns of the names of tests to run; without one, all are.
    names: Vec<SearchRegex>,
}

impl Runner {
    fn suite(&self, path: &Path) -> Suite {
        let mut suite =
            Suite { name: path.display().to_string(), errors: Vec::new(), cases: Vec::new() };
        match self.read(path) {
            Ok((file, groups)) => {
                let tests = (0..).zip(&file.tests).filter(|(_, test)| self.is_asked_for(test));
                suite.cases.extend(tests.map(|(number, test): (usize, &Test)| Case {
                    name: match test.name.as_str() {
                        "" => format!("unnamed#{number}"),
                        name => name.to_owned(),
                    },
                    failures: unit_test::run(test, &file, &groups, &self.options),
                }));
            }
            Err(errors) => suite.errors = errors,
        }
        suite
    }

    fn is_asked_for(&self, test: &Test) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.is_match(&test.name))
    }

    /// A file of tests, and the groups of the rule files that it names.
    fn read(&self, path: &Path) -> Result<(TestFile, Vec<RuleGroup>), Vec<String>> {
        let wrong = |problem: String| vec![format!("{}: {problem}", path.display())];
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file = TestFile::parse(&text).map_err(|problem| wrong(problem.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut groups = Vec::new();
        let mut problems = Vec::new();
        for pattern in &file.rule_files {
            let pattern = folder.join(pattern).display().to_string();
            let found = glob::glob(&pattern).map_err(|error| wrong(error.to_string()))?;
            let found: Vec<PathBuf> = found.filter_map(Result::ok).collect();
            if found.is_empty() {
                complain(&format!("  WARNING: no file match pattern {pattern}"));
            }
            for rule_file in found {
                match load_rules(&rule_file, &self.options.parse) {
                    Ok(rules) => groups.extend(rules.groups),
                    Err(found) => problems.extend(found),
                }
            }
        }
        if problems.is_empty() { Ok((file, groups)) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::{Arguments, Command, TestArguments};

    const RULES: &str = "groups: [{name: g, rules: [{record: r, expr: up * 2}]}]";
    const TESTS: &str = "rule_files: ['*.rules']
tests:
- name: right
  input_series: [{series: up, values: '1 1'}]
  promql_expr_test: [{expr: r, eval_time: 1m, exp_samples: [{labels: r, value: 2}]}]
- name: wrong <
  promql_expr_test: [{expr: '1', eval_time: 0s}]
";

    fn passes(folder: &Path, flags: &[&str]) -> Result<bool, RulesTestError> {
        let file = folder.join("t.yml").display().to_string();
        let line = ["narthex", "test", "rules", file.as_str()].into_iter();
        let line = line.chain(flags.iter().copied());
        let Command::Test(TestArguments::Rules(arguments)) = Arguments::parse_from(line).command
        else {
            panic!("`test rules` was asked for")
        };
        run(&arguments)
    }

    #[test]
    fn tests_are_chosen_by_name_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.rules"), RULES).unwrap();
        std::fs::write(folder.path().join("t.yml"), TESTS).unwrap();
        let report = folder.path().join("report.xml");
        let junit = format!("--junit={}", report.display());
        assert!(!passes(folder.path(), &[&junit]).unwrap());
        let text = std::fs::read_to_string(report).unwrap();
        assert!(text.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{text}");
        assert!(text.contains("<testcase name=\"wrong &lt;\">"), "{text}");
        assert!(passes(folder.path(), &["--run=^r"]).unwrap());
        assert!(passes(folder.path(), &["--run=("]).is_err());
    }

    #[test]
    fn a_rule_file_that_cannot_be_read_fails_its_tests() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.rules"), "groups: 7").unwrap();
        std::fs::write(folder.path().join("t.yml"), TESTS).unwrap();
        assert!(!passes(folder.path(), &["--run=right"]).unwrap());
        std::fs::remove_file(folder.path().join("t.yml")).unwrap();
        assert!(!passes(folder.path(), &[]).unwrap());
    }
}
