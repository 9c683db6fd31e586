//! What is known of a target: the answer to "why is there no data".

use std::{sync::Arc, time::Duration};

use narthex_model::Timestamp;

use super::target::Target;

/// Whether a target's last scrape went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It did.
    Up,
    /// It did not: see [`TargetStatus::last_error`].
    Down,
}

impl Health {
    /// The word that Prometheus's API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target and how its last scrape went.
#[derive(Debug, Clone)]
pub struct TargetStatus {
    /// The target.
    pub target: Arc<Target>,
    /// How the last scrape went.
    pub health: Health,
    /// Why it did not go well; empty if it did.
    pub last_error: String,
    /// When it began.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
}

impl TargetStatus {
    /// A target that was not scraped yet.
    pub fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration: Duration::ZERO,
        }
    }

    /// The target's URL as others can reach it: a loopback address is replaced by the host of
    /// `external_url`, with its port too if the target listens on `own_port`.
    pub fn global_url(&self, external_url: &http::Uri, own_port: u16) -> String {
        let url = &self.target.url;
        let parsed = url.parse::<http::Uri>().ok();
        let Some(parsed) = parsed.filter(|uri| is_loopback(uri.host().unwrap_or_default())) else {
            return url.clone();
        };
        let Some(host) = external_url.host() else { return url.clone() };
        let rest = parsed.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        match parsed.port_u16() {
            Some(port) if port == own_port => {
                let scheme = external_url.scheme_str().unwrap_or("http");
                let authority =
                    external_url.authority().map_or(host, |authority| authority.as_str());
                format!("{scheme}://{authority}{rest}")
            }
            port => {
                let scheme = parsed.scheme_str().unwrap_or("http");
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("{scheme}://{host}{port}{rest}")
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "::1")
}
