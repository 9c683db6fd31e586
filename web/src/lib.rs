//! The web listener of every role: sockets and TLS, who may do what, health, readiness, metrics.
//!
//! A role adds its handlers to [`Routes`] by naming rows of the access table in [`access`]; a
//! process puts the routes of its roles together and gives them to one [`Web`]. Nothing here knows
//! what a route does.
//!
//! Invariants
//! * no route and no gRPC method is served without its row in the access table;
//! * an address beyond loopback is never served before somebody was given a role on purpose;
//! * the role `peer` is never given here.
//!
//! The cluster listener, with its certificates and peers, is not here.

pub mod access;
mod auth;
pub mod body;
mod clock;
mod config;
mod gate;
mod listener;
pub mod metrics;
mod origin;
mod ready;
mod routes;
mod self_metrics;
pub mod summary;
mod tls;
mod unread;

pub use clock::Clock;
pub use config::{WebFile, WebFileError};
pub use gate::{Connection, sender};
pub use listener::{Serving, Web, WebError, WebOptions};
pub use ready::Readiness;
pub use routes::Routes;
pub use tls::Tls;

/// `promtool check web-config` and `narthex check web-config`: reads the file and what it names.
pub fn check_web_config(path: &std::path::Path) -> Result<(), WebFileError> {
    Tls::open(&WebFile::open(path)?).map(drop)
}
