//! The keys of a job that say how a request is authorised and encrypted.

use narthex_yaml::{Fields, Kind, Node, Problem, decode};

use super::{
    Authorization, BasicAuth, HttpClientConfig, Secret, SecretSource, Surroundings, TlsConfig,
    TlsIdentity, TlsVersion,
};

/// Takes the keys of [`HttpClientConfig`]; those of `authorization` have an old form,
/// `bearer_token` and `bearer_token_file`.
pub(super) fn read(
    fields: &mut Fields<'_>,
    surroundings: &Surroundings<'_>,
) -> Result<HttpClientConfig, Problem> {
    let line = fields.line;
    let basic_auth = fields.read("basic_auth", |node| basic_auth(node, surroundings))?;
    let given = fields.read("authorization", |node| authorization(node, surroundings))?;
    let bearer = source(fields, "bearer_token", surroundings, "")?;
    if bearer.is_some() && (given.is_some() || basic_auth.is_some()) {
        return Err(Problem::at(
            line,
            "at most one of basic_auth, authorization, bearer_token & bearer_token_file must be \
             configured",
        ));
    }
    let authorization = given.or_else(|| {
        let credentials = bearer?;
        Some(Authorization { scheme: "Bearer".to_owned(), credentials: Some(credentials) })
    });
    if basic_auth.is_some() && authorization.is_some() {
        return Err(Problem::at(
            line,
            "at most one of basic_auth, oauth2 & authorization must be configured",
        ));
    }
    let tls = fields.read("tls_config", |node| tls_config(node, surroundings))?;
    Ok(HttpClientConfig {
        basic_auth,
        authorization,
        tls: tls.unwrap_or_default(),
        follow_redirects: fields.read("follow_redirects", decode::truth)?.unwrap_or(true),
        enable_http2: fields.read("enable_http2", decode::truth)?.unwrap_or(true),
    })
}

/// Replaces the secrets by `<secret>`.
pub(super) fn redact(client: &mut HttpClientConfig) {
    let basic = client.basic_auth.as_mut().map(|basic| &mut basic.password);
    let credentials = client.authorization.as_mut().and_then(|auth| auth.credentials.as_mut());
    let key = client.tls.identity.as_mut().map(|identity| &mut identity.key);
    for source in [basic, credentials, key].into_iter().flatten() {
        if let SecretSource::Inline(secret) = source {
            secret.redact();
        }
    }
}

/// A text that is never shown.
fn secret(node: &Node) -> Result<Secret, Problem> {
    match &node.kind {
        Kind::Scalar { text, .. } => Ok(Secret::new(text)),
        _ => Err(Problem::at(node.line, "cannot unmarshal into config.Secret")),
    }
}

/// Takes `KEY` and `KEY_file`, of which at most one may be given.
fn source(
    fields: &mut Fields<'_>,
    key: &str,
    surroundings: &Surroundings<'_>,
    group: &str,
) -> Result<Option<SecretSource>, Problem> {
    let file_key = format!("{key}_file");
    let inline = fields.read(key, secret)?;
    let inline = inline.filter(|secret| !secret.reveal().is_empty());
    let file = fields.read(&file_key, decode::text)?.filter(|path| !path.is_empty());
    match (inline, file) {
        (Some(_), Some(_)) => Err(Problem::at(
            fields.line,
            format!("at most one of {group}{key} & {file_key} must be configured"),
        )),
        (Some(secret), None) => Ok(Some(SecretSource::Inline(secret))),
        (None, Some(path)) => Ok(Some(SecretSource::File(surroundings.absolute(&path)))),
        (None, None) => Ok(None),
    }
}

fn basic_auth(node: &Node, surroundings: &Surroundings<'_>) -> Result<BasicAuth, Problem> {
    let mut fields = Fields::open(node, "config.BasicAuth")?;
    let username = source(&mut fields, "username", surroundings, "basic_auth ")?;
    let password = source(&mut fields, "password", surroundings, "basic_auth ")?;
    if fields.has("username_ref") || fields.has("password_ref") {
        return Err(Problem::at(
            node.line,
            "basic_auth: username_ref and password_ref need a secret manager, which does not exist",
        ));
    }
    fields.finish()?;
    let empty = || SecretSource::Inline(Secret::default());
    Ok(BasicAuth {
        username: username.unwrap_or_else(empty),
        password: password.unwrap_or_else(empty),
    })
}

fn authorization(node: &Node, surroundings: &Surroundings<'_>) -> Result<Authorization, Problem> {
    let mut fields = Fields::open(node, "config.Authorization")?;
    let scheme = fields.read("type", decode::text)?.unwrap_or_default();
    let credentials = source(&mut fields, "credentials", surroundings, "authorization ")?;
    if fields.has("credentials_ref") {
        return Err(Problem::at(
            node.line,
            "authorization: credentials_ref needs a secret manager, which does not exist",
        ));
    }
    fields.finish()?;
    let scheme = scheme.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        return Err(Problem::at(
            node.line,
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
        ));
    }
    let scheme = if scheme.is_empty() { "Bearer" } else { scheme };
    Ok(Authorization { scheme: scheme.to_owned(), credentials })
}

fn tls_config(node: &Node, surroundings: &Surroundings<'_>) -> Result<TlsConfig, Problem> {
    let mut fields = Fields::open(node, "config.plain")?;
    if ["ca_ref", "cert_ref", "key_ref"].iter().any(|key| fields.has(key)) {
        return Err(Problem::at(
            node.line,
            "tls_config: ca_ref, cert_ref and key_ref need a secret manager, which does not exist",
        ));
    }
    let ca = source(&mut fields, "ca", surroundings, "")?;
    let cert = source(&mut fields, "cert", surroundings, "")?;
    let key = source(&mut fields, "key", surroundings, "")?;
    let config = TlsConfig {
        ca,
        identity: identity(cert, key, node.line)?,
        server_name: fields.read("server_name", decode::text)?.unwrap_or_default(),
        insecure_skip_verify: fields.read("insecure_skip_verify", decode::truth)?.unwrap_or(false),
        min_version: fields.read("min_version", tls_version)?,
        max_version: fields.read("max_version", tls_version)?,
    };
    fields.finish()?;
    if let (Some(min), Some(max)) = (config.min_version, config.max_version)
        && max < min
    {
        return Err(Problem::at(
            node.line,
            "tls_config.max_version must be greater than or equal to tls_config.min_version if \
             both are specified",
        ));
    }
    Ok(config)
}

fn identity(
    cert: Option<SecretSource>,
    key: Option<SecretSource>,
    line: usize,
) -> Result<Option<TlsIdentity>, Problem> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsIdentity { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Problem::at(
            line,
            "exactly one of key or key_file must be configured when a client certificate is \
             configured",
        )),
        (None, Some(_)) => Err(Problem::at(
            line,
            "exactly one of cert or cert_file must be configured when a client key is configured",
        )),
    }
}

fn tls_version(node: &Node) -> Result<TlsVersion, Problem> {
    match decode::text(node)?.as_str() {
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        old @ ("TLS10" | "TLS11") => Err(Problem::at(
            node.line,
            format!("TLS version {old} is broken and not offered; use TLS12 or TLS13"),
        )),
        other => Err(Problem::at(node.line, format!("unknown TLS version: {other}"))),
    }
}
