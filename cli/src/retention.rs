//! `narthex cluster retention`.

use std::{
    io::{self, Read as _},
    path::Path,
};

use narthex_node::config::{
    Problem,
    retention::{parse, selector_text, to_yaml},
};
use narthex_proto::v1::{
    RetentionRule, RetentionRules, ShowRetentionRequest, retention_client::RetentionClient,
};
use serde_json::json;

use crate::{
    client::{self, ClientError},
    flags::{Output, RetentionArguments},
    output::answer,
};

/// Why rules were not set.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// Make the file readable.
    #[error("read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    /// Correct it.
    #[error("{file}: {problem}")]
    Invalid { file: String, problem: Problem },
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Prints the rules in force, or sets those of a file.
pub async fn run(arguments: &RetentionArguments) -> Result<(), RetentionError> {
    let rules = match arguments.file.as_str() {
        "show" => None,
        file => Some(read(file)?),
    };
    let channel = client::connect(&arguments.client.server).await?;
    let mut client = RetentionClient::new(channel);
    if let Some(rules) = rules {
        client.set(RetentionRules { rules }).await.map_err(ClientError::from)?;
        return Ok(());
    }
    let shown = client.show(ShowRetentionRequest {}).await.map_err(ClientError::from)?;
    print(&shown.into_inner().rules, arguments.client.output).map_err(ClientError::from)?;
    Ok(())
}

fn read(file: &str) -> Result<Vec<RetentionRule>, RetentionError> {
    let mut text = String::new();
    let read = match file {
        "-" => io::stdin().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(Path::new(path)).map(|read| text = read),
    };
    read.map_err(|source| RetentionError::Read { file: file.to_owned(), source })?;
    let rules = parse(&text)
        .map_err(|problem| RetentionError::Invalid { file: file.to_owned(), problem })?;
    let rules = rules.into_iter().map(|rule| RetentionRule {
        selector: selector_text(&rule.matchers),
        keep_days: rule.keep_days,
    });
    Ok(rules.collect())
}

fn print(rules: &[RetentionRule], output: Output) -> io::Result<()> {
    match output {
        Output::Table => {
            let rules = rules.iter().map(|rule| (rule.selector.as_str(), rule.keep_days));
            answer(to_yaml(rules).trim_end())
        }
        Output::Json => {
            let rule = |rule: &RetentionRule| json!({ "match": rule.selector, "keep": format!("{}d", rule.keep_days) });
            let rules: Vec<_> = rules.iter().map(rule).collect();
            answer(&json!({ "retention": rules }).to_string())
        }
    }
}
