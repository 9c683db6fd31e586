//! Composition of the roles: which parts a process starts, and in which order it stops them.
//!
//! A role adds its routes and metrics to those of its process, which serves them all on one web
//! listener. Everything a process starts is tracked by one [`TaskTracker`] and ends on one token;
//! the web listener ends first, so that nothing is accepted that could not be answered.

mod admin;
mod features;
mod front;
mod membership;
mod node;
mod objects;
mod retention;
mod rules;
mod runtime;
mod settings;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use narthex_node::{
    config::{Config, ConfigError},
    founding::InvalidFounders,
    node::StartError,
};
use narthex_promql::ParseOptions;
use narthex_proto::connect::ConnectError;
use narthex_router::InvalidLimits;
use narthex_web::{Clock, Tls, Web, WebError, WebFile, WebFileError, WebOptions, access::RoleSet};
use tokio_util::task::TaskTracker;

use crate::{
    addresses::AddressesError,
    client::ClientError,
    config_file,
    flags::{UpArguments, WebFlags},
    listener::BindError,
};

pub use features::{UnknownFeature, has_delayed_name_removal, parse_options};
pub use front::{Front, run_querier, run_router, start_front};
pub use node::run_node;
pub use runtime::start as start_runtime;

/// How long blocked threads may keep a stopped process.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a role does not start.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Correct the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Correct the flag or the file it names.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Correct the file.
    #[error("--web.config.file")]
    WebFile(#[from] WebFileError),
    /// Use the names of roles.
    #[error("--web.allow-anonymous: {0}")]
    Roles(String),
    /// Leave it out.
    #[error(transparent)]
    Feature(#[from] UnknownFeature),
    /// Correct the flag.
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    /// Make the certificates, or correct the folder.
    #[error(transparent)]
    Certificates(#[from] ClientError),
    /// Correct the address.
    #[error(transparent)]
    Peer(#[from] ConnectError),
    /// Ask for another address.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// Use the folder as it was used before.
    #[error(transparent)]
    Addresses(#[from] AddressesError),
    /// Correct the list.
    #[error(transparent)]
    Founders(#[from] InvalidFounders),
    /// What it says.
    #[error("start the node")]
    Node(#[from] StartError),
    /// Mend the disk, then start it again.
    #[error("the log can no longer be written")]
    Log(#[source] std::sync::Arc<std::io::Error>),
    #[error("start the process")]
    Io(#[from] std::io::Error),
    #[error("BUG: a role died while it started")]
    Died(#[from] tokio::task::JoinError),
}

/// What is checked before anything starts.
pub struct Prepared {
    web: Web,
    /// The scheme of the web listener's URLs.
    pub scheme: &'static str,
    config: Option<PreparedConfig>,
}

/// A configuration file that was read, and how it is read again.
pub struct PreparedConfig {
    path: PathBuf,
    config: Config,
    /// What expressions of its rules may use.
    options: ParseOptions,
}

impl Prepared {
    /// Reads files and checks flags, so that what is wrong is said before anything starts.
    pub fn new(web: &WebFlags) -> Result<Self, RoleError> {
        let scheme = match &web.config_file {
            Some(file) if Tls::open(&WebFile::open(file)?)?.is_some() => "https",
            _ => "http",
        };
        Ok(Self { web: open_web(web)?, scheme, config: None })
    }

    /// The same for `up`, whose address may be asked for.
    pub fn for_up(arguments: &UpArguments) -> Result<Self, RoleError> {
        let mut prepared = Self::new(&arguments.web)?;
        let options = features::options(&arguments.query)?.parse;
        if let Some(path) = arguments.config_file.clone() {
            let config = config_file::load(&path, &options)?;
            prepared.config = Some(PreparedConfig { path, config, options });
        }
        if let Some(address) = arguments.web_listen_address {
            prepared.check_address(address)?;
        }
        Ok(prepared)
    }

    /// Refuses an address beyond loopback that nobody was given a role for.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), RoleError> {
        Ok(self.web.check_address(address)?)
    }
}

fn open_web(flags: &WebFlags) -> Result<Web, RoleError> {
    let options = WebOptions {
        config_file: flags.config_file.clone(),
        external_url: flags.external_url.clone(),
        route_prefix: flags.route_prefix.clone(),
        cors_origin: flags.cors_origin.clone(),
        allow_anonymous: RoleSet::parse(&flags.allow_anonymous).map_err(RoleError::Roles)?,
        enable_lifecycle: flags.enable_lifecycle,
        connections_max: flags.max_connections,
        read_timeout: flags.read_timeout,
    };
    Ok(Web::open(options, Clock::system())?)
}

/// Tasks of roles that run.
pub struct Running {
    tasks: TaskTracker,
    node: Option<narthex_node::node::Node>,
}

impl Running {
    /// Returns when everything that was accepted is answered and written.
    pub async fn stopped(self) {
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(node) = self.node {
            node.stop().await;
        }
    }

    /// Returns the error that ends the node of this process, if it has one that fails.
    pub async fn failed(&self) -> RoleError {
        match &self.node {
            Some(node) => RoleError::Log(node.failed().await),
            None => std::future::pending().await,
        }
    }
}
