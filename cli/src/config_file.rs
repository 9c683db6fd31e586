//! `--config.file`: checked before anything starts, then proposed to the control group, which
//! makes it state of the cluster. Read again on SIGHUP; a file that is refused changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use narthex_cluster::{Command, ImportScrapeConfig, Outcome, Owner};
use narthex_node::config::{self, Config, ConfigError};
use narthex_promql::ParseOptions;
use narthex_querier::ConfigStatus;
use narthex_web::Clock;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::proposer::Proposer;

/// Reloads that may wait while one is under way.
const RELOADS_WAITING_MAX: usize = 4;

/// Imports one file into the state of one cluster.
pub struct Importer {
    path: PathBuf,
    /// What expressions of rules may use.
    options: ParseOptions,
    proposer: Proposer,
    status: Arc<watch::Sender<ConfigStatus>>,
    reloads: mpsc::Receiver<Asked>,
}

/// A reload that somebody waits for.
type Asked = oneshot::Sender<Result<(), String>>;

/// Asks for the file to be read again.
#[derive(Debug, Clone)]
pub struct Reload(mpsc::Sender<Asked>);

impl Reload {
    /// Returns once the file is in force, or says why it is not.
    pub async fn ask(&self) -> Result<(), String> {
        let (asked, done) = oneshot::channel();
        let stopping = || "the process is stopping".to_owned();
        self.0.try_send(asked).map_err(|_| "too many reloads at once".to_owned())?;
        done.await.unwrap_or_else(|_| Err(stopping()))
    }
}

impl Importer {
    /// The importer, which keeps `status` true, and what asks it to read the file again.
    pub fn new(
        (path, options): (PathBuf, ParseOptions),
        proposer: Proposer,
        status: Arc<watch::Sender<ConfigStatus>>,
    ) -> (Self, Reload) {
        let (sender, reloads) = mpsc::channel(RELOADS_WAITING_MAX);
        (Self { path, options, proposer, status, reloads }, Reload(sender))
    }

    /// Imports `first`, and what the file says at each SIGHUP or reload, until `stop` fires.
    pub async fn run(mut self, first: Config, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                error!(%error, "SIGHUP cannot be received; configuration is not imported");
                return;
            }
        };
        let work = async {
            // Logged where it happens; nobody waits for it.
            let _ = self.import(&first).await;
            loop {
                tokio::select! {
                    _ = hangup.recv() => drop(self.reload().await),
                    asked = self.reloads.recv() => {
                        let Some(asked) = asked else { return };
                        // Whoever asked may have gone.
                        let _ = asked.send(self.reload().await);
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    async fn reload(&self) -> Result<(), String> {
        match load(&self.path, &self.options) {
            Ok(config) => self.import(&config).await,
            Err(error) => {
                // Prometheus's words.
                let file = self.path.display().to_string();
                let problem =
                    format!("couldn't load configuration (--config.file={file:?}): {error}");
                error!(%error, "configuration refused; the last good one stays in force");
                self.refuse(&problem);
                Err(problem)
            }
        }
    }

    fn refuse(&self, problem: &str) {
        let now = Clock::system().now();
        self.status.send_modify(|status| status.fail(problem.to_owned(), now));
    }

    async fn import(&self, config: &Config) -> Result<(), String> {
        let file = self.path.display();
        match self.proposer.propose(command(config)).await {
            Ok(Outcome::Unchanged) => info!(%file, "configuration is in force already"),
            Ok(_) => info!(%file, "configuration imported"),
            Err(error) => {
                error!(%file, %error, "configuration refused");
                let problem = error.to_string();
                self.refuse(&problem);
                return Err(problem);
            }
        }
        self.status.send_modify(|status| {
            status.problem.clear();
            status.inactive.clone_from(&config.inactive);
            status.loaded = status.loaded.max(Clock::system().now());
        });
        Ok(())
    }
}

/// What makes it state of the cluster.
pub fn command(config: &Config) -> Command {
    let content = config.encode().into();
    Command::ImportScrapeConfig(ImportScrapeConfig { owner: Owner::File, content })
}

/// Reads and checks the file and those that it names, and warns of what has no effect yet.
pub fn load(path: &Path, options: &ParseOptions) -> Result<Config, ConfigError> {
    let config = config::load(path, options)?;
    for section in &config.inactive {
        warn!(section, "this section of the configuration has no effect yet");
    }
    Ok(config)
}
