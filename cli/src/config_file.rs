//! `--config.file`: checked before anything starts, then proposed to the control group, which
//! makes it state of the cluster. Read again on SIGHUP; a file that is refused changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use narthex_cluster::{Command, ImportScrapeConfig, Outcome, Owner, Request, RequestId};
use narthex_node::config::{self, Config, ConfigError};
use narthex_proto::{
    internal::v1::{ProposeRequest, propose_response::Result as Answer},
    service::NodeService,
};
use narthex_web::Clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{flags::CheckArguments, output::answer};

/// Between two attempts while the cluster has no leader, as long as an election may take.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// `narthex check config`. Says of each file whether it can be used; true if all can.
pub fn check(arguments: &CheckArguments) -> std::io::Result<bool> {
    let CheckArguments::Config { files } = arguments;
    let mut all_valid = true;
    for file in files {
        answer(&format!("Checking {}", file.display()))?;
        match config::load(file) {
            Ok(config) => {
                for section in &config.inactive {
                    answer(&format!("  WARNING: {section} has no effect yet"))?;
                }
                let jobs = config.scrape_configs.len();
                answer(&format!("  SUCCESS: {} is valid, {jobs} scrape jobs", file.display()))?;
            }
            Err(error) => {
                all_valid = false;
                answer(&format!("  FAILED: {error}"))?;
            }
        }
    }
    Ok(all_valid)
}

/// Imports one file into the state of one cluster.
pub struct Importer {
    pub path: PathBuf,
    /// Any nodes of the cluster; one that answers is enough.
    pub nodes: Vec<Arc<dyn NodeService>>,
    pub clock: Clock,
}

impl Importer {
    /// Imports `first`, and what the file says at each SIGHUP, until `stop` fires.
    pub async fn run(self, first: Config, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                error!(%error, "SIGHUP cannot be received; configuration is not imported");
                return;
            }
        };
        let mut next = Some(first);
        loop {
            if let Some(config) = next.take() {
                tokio::select! {
                    () = self.import(&config) => {}
                    () = stop.cancelled() => return,
                }
            }
            tokio::select! {
                _ = hangup.recv() => next = self.reload(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn reload(&self) -> Option<Config> {
        match load(&self.path) {
            Ok(config) => Some(config),
            Err(error) => {
                error!(%error, "configuration refused; the last good one stays in force");
                None
            }
        }
    }

    /// Proposes until some node has answered for the control group.
    async fn import(&self, config: &Config) {
        // One id for all attempts: an attempt whose answer was lost is not repeated.
        let id = RequestId(uuid::Uuid::new_v4().as_u128());
        let content = ImportScrapeConfig { owner: Owner::File, content: config.encode().into() };
        let command = Command::ImportScrapeConfig(content);
        let request = Request { id, at: self.clock.now(), command };
        let command = match request.encode() {
            Ok(command) => command,
            Err(error) => {
                error!(%error, "configuration is too large for the cluster's state");
                return;
            }
        };
        for node in self.nodes.iter().cycle() {
            if let Some(outcome) = propose(node.as_ref(), &command).await {
                report(&self.path, &outcome);
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

async fn propose(node: &dyn NodeService, command: &[u8]) -> Option<Outcome> {
    let request = ProposeRequest { command: command.to_vec().into() };
    match node.propose(request).await.ok()?.result? {
        Answer::Outcome(bytes) => Outcome::decode(&bytes).ok(),
        Answer::Unavailable(_) => None,
    }
}

fn report(path: &Path, outcome: &Outcome) {
    let file = path.display();
    match outcome {
        Outcome::Unchanged => info!(%file, "configuration is in force already"),
        Outcome::Refused(refusal) => error!(%file, %refusal, "configuration refused"),
        _ => info!(%file, "configuration imported"),
    }
}

/// Reads and checks the file, and warns of what has no effect yet.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let config = config::load(path)?;
    for section in &config.inactive {
        warn!(section, "this section of the configuration has no effect yet");
    }
    Ok(config)
}
