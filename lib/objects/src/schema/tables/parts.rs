//! Shapes that several kinds share.

use crate::schema::{
    COUNT, Field, TLS_VERSIONS,
    Type::{Action, Bool, List, Map, NonEmpty, Object, OneOf, Text},
    optional, required,
};

pub(crate) const KEY_REFERENCE: &[Field] =
    &[required("key", Text), optional("name", Text), optional("optional", Bool)];

pub(crate) const AUTHORIZATION: &[Field] =
    &[optional("credentials", Object(KEY_REFERENCE)), optional("type", Text)];

pub(crate) const BASIC_AUTH: &[Field] =
    &[optional("password", Object(KEY_REFERENCE)), optional("username", Object(KEY_REFERENCE))];

pub(crate) const SECRET_OR_CONFIG_MAP: &[Field] =
    &[optional("configMap", Object(KEY_REFERENCE)), optional("secret", Object(KEY_REFERENCE))];

pub(crate) const TLS_CONFIG: &[Field] = &[
    optional("ca", Object(SECRET_OR_CONFIG_MAP)),
    optional("cert", Object(SECRET_OR_CONFIG_MAP)),
    optional("insecureSkipVerify", Bool),
    optional("keySecret", Object(KEY_REFERENCE)),
    optional("maxVersion", OneOf(TLS_VERSIONS)),
    optional("minVersion", OneOf(TLS_VERSIONS)),
    optional("serverName", Text),
];

pub(crate) const OAUTH2: &[Field] = &[
    required("clientId", Object(SECRET_OR_CONFIG_MAP)),
    required("clientSecret", Object(KEY_REFERENCE)),
    optional("endpointParams", Map(&Text)),
    optional("noProxy", Text),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("scopes", List(&Text)),
    optional("tlsConfig", Object(TLS_CONFIG)),
    required("tokenUrl", Text),
];

pub(crate) const SIGV4: &[Field] = &[
    optional("accessKey", Object(KEY_REFERENCE)),
    optional("externalId", NonEmpty),
    optional("profile", Text),
    optional("region", Text),
    optional("roleArn", Text),
    optional("secretKey", Object(KEY_REFERENCE)),
    optional("useFIPSSTSEndpoint", Bool),
];

pub(crate) const MATCH_EXPRESSION: &[Field] =
    &[required("key", Text), required("operator", Text), optional("values", List(&Text))];

pub(crate) const LABEL_SELECTOR: &[Field] = &[
    optional("matchExpressions", List(&Object(MATCH_EXPRESSION))),
    optional("matchLabels", Map(&Text)),
];

pub(crate) const HTTP_CONFIG_HEADERS: &[Field] = &[
    optional("contentSecurityPolicy", Text),
    optional("strictTransportSecurity", Text),
    optional("xContentTypeOptions", OneOf(&["", "NoSniff"])),
    optional("xFrameOptions", OneOf(&["", "Deny", "SameOrigin"])),
    optional("xXSSProtection", Text),
];

pub(crate) const WEB_HTTP_CONFIG: &[Field] =
    &[optional("headers", Object(HTTP_CONFIG_HEADERS)), optional("http2", Bool)];

pub(crate) const WEB_TLS_CONFIG: &[Field] = &[
    optional("cert", Object(SECRET_OR_CONFIG_MAP)),
    optional("certFile", Text),
    optional("cipherSuites", List(&Text)),
    optional("client_ca", Object(SECRET_OR_CONFIG_MAP)),
    optional("clientAuthType", Text),
    optional("clientCAFile", Text),
    optional("curvePreferences", List(&Text)),
    optional("keyFile", Text),
    optional("keySecret", Object(KEY_REFERENCE)),
    optional("maxVersion", Text),
    optional("minVersion", Text),
    optional("preferServerCipherSuites", Bool),
];

pub(crate) const ATTACH_METADATA: &[Field] = &[optional("node", Bool)];

pub(crate) const RELABELING: &[Field] = &[
    optional("action", Action),
    optional("modulus", COUNT),
    optional("regex", Text),
    optional("replacement", Text),
    optional("separator", Text),
    optional("sourceLabels", List(&Text)),
    optional("targetLabel", Text),
];

pub(crate) const TLS_CONFIG_WITH_FILES: &[Field] = &[
    optional("ca", Object(SECRET_OR_CONFIG_MAP)),
    optional("caFile", Text),
    optional("cert", Object(SECRET_OR_CONFIG_MAP)),
    optional("certFile", Text),
    optional("insecureSkipVerify", Bool),
    optional("keyFile", Text),
    optional("keySecret", Object(KEY_REFERENCE)),
    optional("maxVersion", OneOf(TLS_VERSIONS)),
    optional("minVersion", OneOf(TLS_VERSIONS)),
    optional("serverName", Text),
];
