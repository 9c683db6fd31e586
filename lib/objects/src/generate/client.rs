//! How a job speaks to its targets: secrets are looked up and put in their place.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use narthex_cluster::{ObjectKey, Objects};
use serde_json::{Value, json};

use super::{Config, Instance};
use crate::{
    Kind,
    manifest::parse_body,
    types::{
        Authorization, BasicAuth, Client, KeyReference, ScrapeClass, SecretOrConfigMap, TlsConfig,
    },
};

/// Where secrets are looked up.
pub(super) struct Secrets<'a> {
    pub instance: &'a Instance<'a>,
    pub namespace: &'a str,
    /// The monitor's path in front of `client`'s fields.
    pub path: String,
}

impl Secrets<'_> {
    /// Puts a client into a job's configuration. What it leaves open, its scrape class says.
    pub(super) fn put(
        &self,
        config: &mut Config,
        client: &Client,
        class: &ScrapeClass,
    ) -> Result<(), String> {
        if let Some(basic) = &client.basic_auth {
            config.insert("basic_auth", self.basic_auth(basic)?);
        } else if let Some(authorization) = &client.authorization {
            config.insert("authorization", self.authorization(authorization)?);
        } else if !client.bearer_token_file.is_empty() {
            self.check_file("bearerTokenFile")?;
            let file = json!({ "credentials_file": client.bearer_token_file });
            config.insert("authorization", file);
        } else if let Some(key) =
            client.bearer_token_secret.as_ref().filter(|it| !it.key.is_empty())
        {
            if let Some(token) = self.secret("bearerTokenSecret", key)? {
                config.insert("authorization", json!({ "credentials": token.trim() }));
            }
        } else if let Some(authorization) = &class.authorization {
            config.insert("authorization", self.authorization(authorization)?);
        }
        if let Some(tls) = client.tls_config.as_ref().or(class.tls_config.as_ref()) {
            // Files of a class are the administrator's, who may.
            let may_name_files = client.tls_config.is_none();
            config.insert("tls_config", self.tls(tls, may_name_files)?);
        }
        if let Some(follow) = client.follow_redirects {
            config.insert("follow_redirects", follow.into());
        }
        if let Some(enable) = client.enable_http2 {
            config.insert("enable_http2", enable.into());
        }
        Ok(())
    }

    fn basic_auth(&self, basic: &BasicAuth) -> Result<Value, String> {
        let read = |part: &str, key: &Option<KeyReference>| match key {
            Some(key) => self.secret(&format!("basicAuth.{part}"), key),
            None => Ok(None),
        };
        let username = read("username", &basic.username)?.unwrap_or_default();
        let password = read("password", &basic.password)?.unwrap_or_default();
        Ok(json!({ "username": username, "password": password }))
    }

    fn authorization(&self, given: &Authorization) -> Result<Value, String> {
        let scheme = match given.scheme.trim() {
            "" => "Bearer",
            scheme => scheme,
        };
        let mut authorization = json!({ "type": scheme });
        if let Some(key) = &given.credentials
            && let Some(credentials) = self.secret("authorization.credentials", key)?
        {
            authorization["credentials"] = credentials.trim().into();
        } else if !given.credentials_file.is_empty() {
            authorization["credentials_file"] = given.credentials_file.as_str().into();
        }
        Ok(authorization)
    }

    fn tls(&self, given: &TlsConfig, may_name_files: bool) -> Result<Value, String> {
        let mut tls = json!({});
        let files = [&given.ca_file, &given.cert_file, &given.key_file];
        if !may_name_files && files.iter().any(|file| !file.is_empty()) {
            self.check_file("tlsConfig")?;
        }
        let sources = [("ca", &given.ca, &given.ca_file), ("cert", &given.cert, &given.cert_file)];
        for (name, source, file) in sources {
            if let Some(text) = self.either(&format!("tlsConfig.{name}"), source)? {
                tls[name] = text.into();
            } else if !file.is_empty() {
                tls[format!("{name}_file")] = file.as_str().into();
            }
        }
        if let Some(key) = &given.key_secret
            && let Some(text) = self.secret("tlsConfig.keySecret", key)?
        {
            tls["key"] = text.into();
        } else if !given.key_file.is_empty() {
            tls["key_file"] = given.key_file.as_str().into();
        }
        if !given.server_name.is_empty() {
            tls["server_name"] = given.server_name.as_str().into();
        }
        if given.insecure_skip_verify {
            tls["insecure_skip_verify"] = true.into();
        }
        for (name, version) in
            [("min_version", &given.min_version), ("max_version", &given.max_version)]
        {
            if !version.is_empty() {
                tls[name] = version.as_str().into();
            }
        }
        Ok(tls)
    }

    fn either(&self, part: &str, source: &SecretOrConfigMap) -> Result<Option<String>, String> {
        match (&source.secret, &source.config_map) {
            (Some(key), _) => self.secret(part, key),
            (None, Some(key)) => self.value(part, Kind::ConfigMap, key),
            (None, None) => Ok(None),
        }
    }

    fn secret(&self, part: &str, key: &KeyReference) -> Result<Option<String>, String> {
        self.value(part, Kind::Secret, key)
    }

    fn value(&self, part: &str, kind: Kind, key: &KeyReference) -> Result<Option<String>, String> {
        value_of(self.instance.objects, kind, self.namespace, key)
            .map_err(|reason| format!("{}{part}: {reason}", self.path))
    }

    fn check_file(&self, part: &str) -> Result<(), String> {
        match self.instance.spec.arbitrary_files.deny {
            false => Ok(()),
            true => Err(format!(
                "{}{part}: files are not allowed: arbitraryFSAccessThroughSMs.deny",
                self.path
            )),
        }
    }
}

/// The text under a key of a Secret or ConfigMap; nothing where it may be missing and is.
pub(super) fn value_of(
    objects: &Objects,
    kind: Kind,
    namespace: &str,
    reference: &KeyReference,
) -> Result<Option<String>, String> {
    let key = ObjectKey {
        group: String::new(),
        kind: kind.name().to_owned(),
        namespace: namespace.to_owned(),
        name: reference.name.clone(),
    };
    let found = objects.get(&key).map(|object| parse_body(&object.body));
    let value = found.as_ref().and_then(|body| body["data"][reference.key.as_str()].as_str());
    match (value, kind) {
        (Some(text), Kind::Secret) => {
            let text = text.replace(['\n', '\r'], "");
            let bytes = STANDARD.decode(text).map_err(|_| "the secret is not base64".to_owned())?;
            let text = String::from_utf8(bytes).map_err(|_| "the secret is no text".to_owned())?;
            Ok(Some(text))
        }
        (Some(text), _) => Ok(Some(text.to_owned())),
        (None, _) if reference.optional => Ok(None),
        (None, _) => Err(format!(
            "there is no key {:?} in {kind} {namespace}/{}",
            reference.key, reference.name
        )),
    }
}
