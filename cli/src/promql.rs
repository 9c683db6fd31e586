//! `narthex promql`: expressions laid out and as trees, without a cluster.

use std::io;

use narthex_promql::{ParseError, parse, pretty};
use narthex_querier::syntax_tree;

use crate::{
    flags::{ExpressionArguments, PromqlCommand},
    output::answer,
    roles::{UnknownFeature, parse_options},
};

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
pub enum PromqlError {
    /// Correct `--enable-feature`.
    #[error(transparent)]
    Feature(#[from] UnknownFeature),
    /// Correct the expression.
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("print the answer")]
    Print(#[from] io::Error),
}

/// Prints what the verb makes of its expression.
pub fn run(command: &PromqlCommand) -> Result<(), PromqlError> {
    answer(&text(command)?)?;
    Ok(())
}

fn text(command: &PromqlCommand) -> Result<String, PromqlError> {
    let (PromqlCommand::Format(arguments) | PromqlCommand::Parse(arguments)) = command;
    let ExpressionArguments { expression, features } = arguments;
    let expr = parse(expression, &parse_options(features)?)?;
    Ok(match command {
        PromqlCommand::Format(_) => pretty(&expr),
        PromqlCommand::Parse(_) => syntax_tree(&expr),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::{Arguments, Command};

    fn text_of(line: &[&str]) -> Result<String, PromqlError> {
        let line = ["narthex", "promql"].iter().chain(line);
        let Command::Promql(command) = Arguments::parse_from(line).command else {
            panic!("`promql` was asked for")
        };
        text(&command)
    }

    #[test]
    fn an_expression_is_laid_out_or_shown_as_a_tree() {
        assert_eq!(text_of(&["format", "sum(a)by( job )+1"]).unwrap(), "sum by (job) (a) + 1");
        let tree: serde_json::Value =
            serde_json::from_str(&text_of(&["parse", "-up"]).unwrap()).unwrap();
        assert_eq!(tree["type"], "unaryExpr");
        assert_eq!(tree["expr"]["name"], "up");
    }

    #[test]
    fn what_cannot_be_parsed_is_refused_with_its_place() {
        let error = text_of(&["format", "sum(up"]).unwrap_err();
        assert!(error.to_string().starts_with("1:7: parse error: "), "{error}");
    }

    #[test]
    fn features_are_switched_on_by_name() {
        let ranked = "limitk(1, up)";
        assert!(text_of(&["format", ranked]).is_err());
        let flag = "--enable-feature=promql-experimental-functions";
        assert_eq!(text_of(&["format", flag, ranked]).unwrap(), ranked);
        let error = text_of(&["format", "--enable-feature=time-travel", "up"]).unwrap_err();
        assert!(error.to_string().contains("time-travel"), "{error}");
    }
}
