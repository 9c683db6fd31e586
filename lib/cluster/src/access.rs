//! Who may ask for what: roles, and the one decision that every listener asks for.
//!
//! A route or method needs one role. On a loopback listener that authenticates nobody the
//! anonymous caller has every role but [`Role::Peer`]; anywhere else nobody has any until a web
//! configuration, a token or `--web.allow-anonymous` gives it. There is no table of routes here:
//! it lies beside the routes, and a test there fails for a route without a row.

use std::{fmt, net::SocketAddr, str::FromStr};

use crate::NodeId;

/// What a route or method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Query, and look at status.
    Read,
    /// Append samples.
    Write,
    /// Change rules.
    Rules,
    /// Change silences.
    Silence,
    /// Change what is scraped and how alerts are routed; reload.
    Config,
    /// Delete series, change the cluster, stop processes.
    Admin,
    /// Be a process of the cluster.
    Peer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Rules,
        Self::Silence,
        Self::Config,
        Self::Admin,
        Self::Peer,
    ];

    /// The name in flags and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Rules => "rules",
            Self::Silence => "silence",
            Self::Config => "config",
            Self::Admin => "admin",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);
    /// What a caller from outside can have at the most.
    pub const ALL_BUT_PEER: Self = Self((1 << Role::Peer as u8) - 1);

    /// This role alone.
    pub const fn only(role: Role) -> Self {
        Self(1 << role as u8)
    }

    /// These roles and that.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    /// Whether the role is among them.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, in order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

/// As in `--web.allow-anonymous`.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// Why a text names no roles that can be given away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role to give: want some of read, write, rules, silence, config, admin")]
pub struct InvalidRole(String);

/// Reads `read,write`. The role of a peer comes from a certificate alone.
impl FromStr for Roles {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let mut roles = Self::NONE;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let role = Self::ALL_BUT_PEER.iter().find(|role| role.name() == name);
            roles = roles.with(role.ok_or_else(|| InvalidRole(name.to_owned()))?);
        }
        Ok(roles)
    }
}

/// Who asks, as far as the listener could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Nobody known: no credentials, or a listener that asks for none.
    Anonymous,
    /// A user of the web configuration, whose password was right.
    User(&'a str),
    /// A client whose certificate the web configuration's authority signed.
    Certificate,
    /// The holder of a token.
    Token(Roles),
    /// A process of the cluster on the cluster listener: a node, or a router or querier.
    Peer(Option<NodeId>),
}

/// What a web listener knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Whether only this machine can reach it.
    pub loopback: bool,
    /// Whether the web configuration names users or an authority for clients. Then the
    /// anonymous caller has no more than `anonymous`, on loopback too, as in Prometheus.
    pub authenticates: bool,
    /// What `--web.allow-anonymous` gives to everybody.
    pub anonymous: Roles,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Ask again with credentials: HTTP 401.
    #[error("this needs the role {0}: credentials are missing or wrong")]
    Unauthenticated(Role),
    /// These credentials never suffice: HTTP 403.
    #[error("this needs the role {0}, which the caller lacks")]
    Forbidden(Role),
}

impl Listener {
    /// What the caller may do here.
    pub fn roles_of(&self, caller: Caller<'_>) -> Roles {
        match caller {
            Caller::Anonymous if self.loopback && !self.authenticates => Roles::ALL_BUT_PEER,
            Caller::Anonymous => self.anonymous,
            Caller::User(_) | Caller::Certificate => Roles::ALL_BUT_PEER,
            Caller::Token(roles) => Roles(roles.0 & Roles::ALL_BUT_PEER.0),
            Caller::Peer(_) => Roles::only(Role::Peer),
        }
    }

    /// Whether the caller may do what needs `role`.
    pub fn check(&self, caller: Caller<'_>, role: Role) -> Result<(), Denial> {
        match (self.roles_of(caller).contains(role), caller) {
            (true, _) => Ok(()),
            (false, Caller::Anonymous) if role != Role::Peer => Err(Denial::Unauthenticated(role)),
            (false, _) => Err(Denial::Forbidden(role)),
        }
    }
}

/// Why a process does not listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnprotectedListener {
    /// Name users, or say who may come without.
    #[error(
        "{0} can be reached from other machines and nobody could be told apart there: name users \
         with --web.config.file, or allow what --web.allow-anonymous=read,write lists to everybody"
    )]
    Web(SocketAddr),
    /// Make certificates, or stay on loopback.
    #[error(
        "{0} can be reached from other machines: nodes talk there only with certificates, given \
         with --cluster.tls-config (`narthex cluster certs DIR` makes them); without, \
         --cluster.listen-address must be on loopback"
    )]
    Cluster(SocketAddr),
}

/// Whether only this machine can reach what listens on `address`.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether the web listener may be opened on `address`.
pub fn check_web_listener(
    address: SocketAddr,
    authenticates: bool,
    anonymous: Roles,
) -> Result<(), UnprotectedListener> {
    match is_loopback(address) || authenticates || !anonymous.is_empty() {
        true => Ok(()),
        false => Err(UnprotectedListener::Web(address)),
    }
}

/// Whether the cluster listener may be opened on `address`.
pub fn check_cluster_listener(address: SocketAddr, tls: bool) -> Result<(), UnprotectedListener> {
    match is_loopback(address) || tls {
        true => Ok(()),
        false => Err(UnprotectedListener::Cluster(address)),
    }
}

/// Whether a request that changes something comes from a page of another site: such a request is
/// refused, since a browser sends it on behalf of somebody who does not know.
///
/// `host` and `origin` are the headers, `external` the `HOST[:PORT]` of `--web.external-url`. A
/// loopback listener knows its names, so a foreign `Host` there means a name that was made to
/// point to this machine.
pub fn is_foreign(
    loopback: bool,
    host: Option<&str>,
    origin: Option<&str>,
    external: Option<&str>,
) -> bool {
    let is_external = |name: &str| external.is_some_and(|it| it.eq_ignore_ascii_case(name));
    if let Some(host) = host
        && loopback
        && !is_external(host)
        && !is_loopback_name(host)
    {
        return true;
    }
    let Some(origin) = origin else { return false };
    let from = origin.split_once("://").map_or("", |(_, authority)| authority);
    !is_external(from) && !host.is_some_and(|host| host.eq_ignore_ascii_case(from))
}

fn is_loopback_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return is_loopback(address);
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: Listener =
        Listener { loopback: true, authenticates: false, anonymous: Roles::NONE };
    const PUBLIC: Listener = Listener { loopback: false, ..LOOPBACK };

    fn allowed(listener: Listener, caller: Caller<'_>) -> String {
        let roles = Role::ALL.into_iter().filter(|role| listener.check(caller, *role).is_ok());
        roles.map(Role::name).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_anonymous_caller_has_all_but_peer_on_loopback_and_nothing_elsewhere() {
        let all = "read,write,rules,silence,config,admin";
        assert_eq!(allowed(LOOPBACK, Caller::Anonymous), all);
        assert_eq!(allowed(PUBLIC, Caller::Anonymous), "");
        assert_eq!(allowed(PUBLIC, Caller::User("ann")), all);
        assert_eq!(allowed(PUBLIC, Caller::Certificate), all);
    }

    #[test]
    fn configured_users_shut_the_anonymous_caller_out_on_loopback_too() {
        let listener = Listener { authenticates: true, ..LOOPBACK };
        assert_eq!(allowed(listener, Caller::Anonymous), "");
        let listener = Listener { anonymous: "read".parse().unwrap(), ..listener };
        assert_eq!(allowed(listener, Caller::Anonymous), "read");
    }

    #[test]
    fn only_a_peer_is_a_peer() {
        assert_eq!(allowed(LOOPBACK, Caller::Peer(Some(NodeId(1)))), "peer");
        let every = Role::ALL.into_iter().fold(Roles::NONE, Roles::with);
        assert!(!allowed(LOOPBACK, Caller::Token(every)).contains("peer"));
        let denial = LOOPBACK.check(Caller::Anonymous, Role::Peer);
        assert_eq!(denial, Err(Denial::Forbidden(Role::Peer)));
    }

    #[test]
    fn credentials_help_the_anonymous_caller_only() {
        let denial = PUBLIC.check(Caller::Anonymous, Role::Write);
        assert_eq!(denial, Err(Denial::Unauthenticated(Role::Write)));
        let denial = PUBLIC.check(Caller::Token(Roles::only(Role::Read)), Role::Write);
        assert_eq!(denial, Err(Denial::Forbidden(Role::Write)));
    }

    #[test]
    fn roles_read_back_what_they_print() {
        let roles: Roles = "write, read".parse().unwrap();
        assert_eq!(roles.to_string(), "read,write");
        assert_eq!("".parse(), Ok(Roles::NONE));
        assert!("peer".parse::<Roles>().is_err() && "root".parse::<Roles>().is_err());
    }

    #[test]
    fn a_listener_beyond_loopback_needs_protection_and_the_error_names_the_flags() {
        let public: SocketAddr = "0.0.0.0:9090".parse().unwrap();
        let error = check_web_listener(public, false, Roles::NONE).unwrap_err().to_string();
        assert!(error.contains("--web.config.file") && error.contains("--web.allow-anonymous"));
        assert!(check_web_listener(public, false, Roles::only(Role::Read)).is_ok());
        assert!(check_web_listener(public, true, Roles::NONE).is_ok());
        let error = check_cluster_listener(public, false).unwrap_err().to_string();
        assert!(
            error.contains("--cluster.tls-config") && error.contains("--cluster.listen-address")
        );
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check_cluster_listener(address.parse().unwrap(), false).is_ok(), "{address}");
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let foreign = |host, origin| is_foreign(true, host, origin, Some("mon.example.org"));
        assert!(!foreign(Some("localhost:9090"), None), "no browser");
        assert!(!foreign(Some("127.0.0.1:9090"), Some("http://127.0.0.1:9090")));
        assert!(!foreign(Some("[::1]:9090"), Some("http://[::1]:9090")));
        assert!(!foreign(Some("mon.example.org"), Some("https://mon.example.org")), "a proxy");
        assert!(foreign(Some("localhost:9090"), Some("http://evil.example")));
        assert!(foreign(Some("localhost:9090"), Some("null")));
        assert!(foreign(Some("evil.example:9090"), Some("http://evil.example:9090")), "rebinding");
        assert!(!is_foreign(false, Some("any:1"), Some("http://any:1"), None));
        assert!(is_foreign(false, Some("any:1"), Some("http://any:2"), None));
    }
}
