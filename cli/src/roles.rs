//! Composition of the roles: which parts a process starts, and in which order it stops them.

use std::{net::TcpListener, path::Path, process::ExitCode};

use tokio::runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    addresses::NodeAddresses,
    flags::{NodeArguments, QuerierArguments, RouterArguments, UpArguments, WebFlags},
};

/// Why a role does not start.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Use a build that has it.
    #[error("this build has no {0} yet")]
    Missing(&'static str),
}

/// What `up` runs in its own process: the router and the querier, and without child nodes the
/// node too.
#[expect(dead_code, reason = "the roles read it, and are composed as they land")]
pub struct Front<'a> {
    pub arguments: &'a UpArguments,
    pub folder: &'a Path,
    /// Child nodes; empty: the node is part of this process.
    pub nodes: &'a [NodeAddresses],
    pub listener: TcpListener,
    pub stop: CancellationToken,
    pub runtime: &'a runtime::Handle,
}

/// Tasks of roles that run.
#[derive(Debug)]
pub struct Running {
    tasks: TaskTracker,
}

impl Running {
    /// Returns when everything that was accepted is answered.
    pub async fn wait(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Refuses files and flags that would be refused later, before anything is started.
pub fn check(_arguments: &UpArguments) -> Result<(), RoleError> {
    Ok(())
}

/// Whether the web listener speaks TLS.
pub fn serves_tls(_web: &WebFlags) -> Result<bool, RoleError> {
    Ok(false)
}

/// Starts the front of a cluster.
pub async fn start_front(_front: Front<'_>) -> Result<Running, RoleError> {
    Err(RoleError::Missing("router and querier"))
}

/// `narthex node`.
pub fn run_node(_arguments: &NodeArguments) -> Result<ExitCode, RoleError> {
    Err(RoleError::Missing("node"))
}

/// `narthex router`.
pub fn run_router(_arguments: &RouterArguments) -> Result<ExitCode, RoleError> {
    Err(RoleError::Missing("router"))
}

/// `narthex querier`.
pub fn run_querier(_arguments: &QuerierArguments) -> Result<ExitCode, RoleError> {
    Err(RoleError::Missing("querier"))
}
