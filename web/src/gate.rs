//! The one decision every request meets: may this caller do this?

use std::{net::SocketAddr, sync::Arc};

use http::{Extensions, request::Parts};

use crate::{
    access::{Access, Role, RoleSet},
    auth::{Caller, Users},
    clock::Clock,
    metrics::HttpMetrics,
    origin::OriginPolicy,
};

/// The connection that a request came on; among the extensions of every request.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// Whether the client had to show a certificate that the configured CA signed.
    pub certified: bool,
}

/// The configured user whose credentials a request carries; among the extensions of those that
/// were admitted for one.
#[derive(Debug, Clone)]
struct UserName(Arc<str>);

/// Who sent an admitted request, as far as anybody knows: a configured user, else an address. To
/// share among callers by, never to allow anything by.
pub fn sender(extensions: &Extensions) -> Arc<str> {
    if let Some(UserName(name)) = extensions.get() {
        return Arc::clone(name);
    }
    let connection = extensions.get::<Connection>();
    connection.map_or_else(|| Arc::from(""), |it| Arc::from(it.peer.ip().to_string()))
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// The caller may not do this; says why.
    Forbidden(String),
    /// The caller names a tenant that does not exist; nothing is filed under another one.
    UnknownTenant(String),
}

/// The header in which senders name their tenant.
const TENANT: &str = "x-scope-orgid";
/// The only tenant there is.
const ONLY_TENANT: &[u8] = b"0";

/// Everything the decision needs.
#[derive(Debug)]
pub struct Gate {
    pub(crate) users: Users,
    pub(crate) allow_anonymous: RoleSet,
    pub(crate) enable_lifecycle: bool,
    pub(crate) origins: OriginPolicy,
    pub(crate) metrics: HttpMetrics,
    pub(crate) clock: Clock,
}

impl Gate {
    /// Admits or refuses `request` to something that asks for `access`.
    pub async fn admit(&self, access: Access, request: &Parts) -> Result<(), Refusal> {
        let Access::Needs(role) = access else {
            return Ok(());
        };
        if let Some(tenant) = request.headers.get(TENANT)
            && tenant.as_bytes() != ONLY_TENANT
        {
            self.metrics.refused("unknown_tenant");
            let tenant = String::from_utf8_lossy(tenant.as_bytes()).into_owned();
            return Err(Refusal::UnknownTenant(tenant));
        }
        let connection = request.extensions.get::<Connection>();
        let roles = match self.users.caller(&request.headers).await {
            Caller::User => RoleSet::ALL_BUT_PEER,
            Caller::Refused if !self.users.is_empty() => {
                self.metrics.refused("unauthenticated");
                return Err(Refusal::Unauthenticated);
            }
            Caller::Anonymous | Caller::Refused => self.anonymous_roles(connection),
        };
        if !roles.contains(role) {
            return Err(self.lacks(role));
        }
        let loopback = connection.is_some_and(|c| c.local.ip().is_loopback());
        let foreign = if role.mutates() {
            self.origins.foreign(&request.headers, &request.uri, loopback)
        } else {
            None
        };
        match foreign {
            Some(why) => {
                self.metrics.refused("foreign_origin");
                Err(Refusal::Forbidden(why))
            }
            None => Ok(()),
        }
    }

    /// Notes who sent a request that was admitted, for [`sender`].
    pub fn note_sender(&self, request: &mut Parts) {
        if let Some(name) = self.users.named_by(&request.headers) {
            request.extensions.insert(UserName(name));
        }
    }

    fn lacks(&self, role: Role) -> Refusal {
        if self.users.is_empty() || role == Role::Peer {
            self.metrics.refused("forbidden");
            return Refusal::Forbidden(format!("role {:?} is required", role.name()));
        }
        self.metrics.refused("unauthenticated");
        Refusal::Unauthenticated
    }

    /// What a caller without credentials may do: on loopback everything unless users are
    /// configured, elsewhere what `--web.allow-anonymous` gives. A client certificate stands in
    /// for credentials where no users are configured.
    fn anonymous_roles(&self, connection: Option<&Connection>) -> RoleSet {
        let trusted = connection.is_some_and(|c| c.certified || c.local.ip().is_loopback());
        if trusted && self.users.is_empty() { RoleSet::ALL_BUT_PEER } else { self.allow_anonymous }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use http::Request;
    use narthex_model::Timestamp;

    use super::*;
    use crate::access::{ENDPOINTS, GRPC};

    fn gate(users: bool, allow_anonymous: RoleSet) -> Gate {
        let gate = Gate {
            users: Users::new(),
            allow_anonymous,
            enable_lifecycle: false,
            origins: OriginPolicy::new(".*", None).expect("valid"),
            metrics: HttpMetrics::default(),
            clock: Clock::fixed(Timestamp::default()),
        };
        if users {
            let hash = bcrypt::hash("secret", 4).expect("hash");
            gate.users.replace(HashMap::from([("ann".to_owned(), hash)]));
        }
        gate
    }

    fn request(local: &str, credentials: Option<&str>) -> Parts {
        let mut builder = Request::builder().uri("/").header("Host", "127.0.0.1:9090");
        if let Some(credentials) = credentials {
            builder = builder.header("Authorization", credentials);
        }
        let mut request = builder.body(()).expect("request").into_parts().0;
        let connection = Connection {
            local: local.parse().expect("address"),
            peer: "127.0.0.1:40000".parse().expect("address"),
            certified: false,
        };
        request.extensions.insert(connection);
        request
    }

    const LOOPBACK: &str = "127.0.0.1:9090";
    const BEYOND: &str = "10.0.0.1:9090";
    const ANN: &str = "Basic YW5uOnNlY3JldA==";

    /// Every row of both tables for every kind of caller.
    #[tokio::test]
    async fn the_matrix_of_rows_and_callers() {
        let rows: Vec<Access> = ENDPOINTS
            .iter()
            .map(|endpoint| endpoint.access())
            .chain(GRPC.iter().map(|(_, _, access)| *access))
            .collect();
        let read_only = RoleSet::NONE.with(Role::Read);
        let callers = [
            (gate(false, RoleSet::NONE), LOOPBACK, None, RoleSet::ALL_BUT_PEER),
            (gate(true, RoleSet::NONE), LOOPBACK, None, RoleSet::NONE),
            (gate(true, RoleSet::NONE), BEYOND, Some(ANN), RoleSet::ALL_BUT_PEER),
            (gate(true, RoleSet::NONE), BEYOND, Some("Basic eDp5"), RoleSet::NONE),
            (gate(true, read_only), BEYOND, None, read_only),
            (gate(false, RoleSet::NONE), BEYOND, None, RoleSet::NONE),
            (gate(false, read_only), BEYOND, Some(ANN), read_only),
        ];
        for (gate, local, credentials, roles) in &callers {
            for &access in &rows {
                let expected = match access {
                    Access::Public => true,
                    Access::Needs(role) => roles.contains(role),
                };
                let got = gate.admit(access, &request(local, *credentials)).await;
                assert_eq!(got.is_ok(), expected, "{access:?} {local} {credentials:?}: {got:?}");
            }
        }
    }

    #[tokio::test]
    async fn another_tenant_is_refused_by_name() {
        let gate = gate(false, RoleSet::NONE);
        for (tenant, known) in [("0", true), ("acme", false), ("", false)] {
            let mut request = request(LOOPBACK, None);
            request.headers.insert(TENANT, tenant.parse().expect("header"));
            let got = gate.admit(Access::Needs(Role::Write), &request).await;
            let refusal = Err(Refusal::UnknownTenant(tenant.to_owned()));
            assert_eq!(got, if known { Ok(()) } else { refusal });
        }
    }

    #[tokio::test]
    async fn a_foreign_page_changes_nothing_but_may_ask() {
        let gate = gate(false, RoleSet::NONE);
        let mut foreign = request(LOOPBACK, None);
        foreign.headers.insert("Origin", "http://evil.example".parse().expect("header"));
        assert!(gate.admit(Access::Needs(Role::Read), &foreign).await.is_ok());
        let refusal = gate.admit(Access::Needs(Role::Write), &foreign).await;
        assert!(matches!(refusal, Err(Refusal::Forbidden(why)) if why.contains("evil")));
    }
}
