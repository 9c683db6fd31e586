//! `Alertmanager`.

use crate::schema::{
    COUNT, Field,
    Type::{Bool, Duration, List, Map, NonEmpty, Object, OneOf, Text},
    optional, pod, required,
};

use super::parts::{
    AUTHORIZATION, BASIC_AUTH, KEY_REFERENCE, LABEL_SELECTOR, OAUTH2, SECRET_OR_CONFIG_MAP,
    TLS_CONFIG, WEB_HTTP_CONFIG, WEB_TLS_CONFIG,
};

const ALERTMANAGER_CONFIG_MATCHER_STRATEGY: &[Field] = &[optional(
    "type",
    OneOf(&["OnNamespace", "OnNamespaceExceptForAlertmanagerNamespace", "None"]),
)];

const GLOBAL_HTTP_CONFIG: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerTokenSecret", Object(KEY_REFERENCE)),
    optional("enableHttp2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const JIRA: &[Field] = &[optional("apiURL", Text)];

const MATTERMOST: &[Field] = &[optional("webhookURL", Object(KEY_REFERENCE))];

const ROCKET_CHAT: &[Field] = &[
    optional("apiURL", Text),
    optional("token", Object(KEY_REFERENCE)),
    optional("tokenID", Object(KEY_REFERENCE)),
];

const SMART_HOST: &[Field] = &[required("host", NonEmpty), required("port", NonEmpty)];

const SMTP: &[Field] = &[
    optional("authIdentity", Text),
    optional("authPassword", Object(KEY_REFERENCE)),
    optional("authSecret", Object(KEY_REFERENCE)),
    optional("authUsername", Text),
    optional("forceImplicitTLS", Bool),
    optional("from", Text),
    optional("hello", Text),
    optional("requireTLS", Bool),
    optional("smartHost", Object(SMART_HOST)),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const VICTOROPS: &[Field] = &[optional("apiKey", Object(KEY_REFERENCE)), optional("apiURL", Text)];

const WECHAT: &[Field] = &[
    optional("apiCorpID", NonEmpty),
    optional("apiSecret", Object(KEY_REFERENCE)),
    optional("apiURL", Text),
];

const GLOBAL: &[Field] = &[
    optional("httpConfig", Object(GLOBAL_HTTP_CONFIG)),
    optional("jira", Object(JIRA)),
    optional("mattermost", Object(MATTERMOST)),
    optional("opsGenieApiKey", Object(KEY_REFERENCE)),
    optional("opsGenieApiUrl", Object(KEY_REFERENCE)),
    optional("pagerdutyUrl", Text),
    optional("resolveTimeout", Duration),
    optional("rocketChat", Object(ROCKET_CHAT)),
    optional("slackApiUrl", Object(KEY_REFERENCE)),
    optional("smtp", Object(SMTP)),
    optional("telegram", Object(JIRA)),
    optional("victorops", Object(VICTOROPS)),
    optional("webex", Object(JIRA)),
    optional("wechat", Object(WECHAT)),
];

const ALERTMANAGER_CONFIGURATION: &[Field] = &[
    optional("global", Object(GLOBAL)),
    optional("name", NonEmpty),
    optional("templates", List(&Object(SECRET_OR_CONFIG_MAP))),
];

const LIMITS: &[Field] =
    &[optional("maxPerSilenceBytes", Duration), optional("maxSilences", COUNT)];

const WEB: &[Field] = &[
    optional("getConcurrency", COUNT),
    optional("httpConfig", Object(WEB_HTTP_CONFIG)),
    optional("timeout", COUNT),
    optional("tlsConfig", Object(WEB_TLS_CONFIG)),
];

pub(crate) const ALERTMANAGER_SPEC: &[Field] = &[
    pod("additionalArgs"),
    pod("additionalPeers"),
    pod("affinity"),
    optional("alertmanagerConfigMatcherStrategy", Object(ALERTMANAGER_CONFIG_MATCHER_STRATEGY)),
    optional("alertmanagerConfigNamespaceSelector", Object(LABEL_SELECTOR)),
    optional("alertmanagerConfigSelector", Object(LABEL_SELECTOR)),
    optional("alertmanagerConfiguration", Object(ALERTMANAGER_CONFIGURATION)),
    pod("automountServiceAccountToken"),
    pod("baseImage"),
    pod("clusterAdvertiseAddress"),
    pod("clusterGossipInterval"),
    pod("clusterLabel"),
    pod("clusterPeerTimeout"),
    pod("clusterPushpullInterval"),
    pod("clusterTLS"),
    pod("configMaps"),
    optional("configSecret", Text),
    pod("containers"),
    pod("dnsConfig"),
    pod("dnsPolicy"),
    optional("enableFeatures", List(&Text)),
    pod("enableServiceLinks"),
    optional("externalUrl", Text),
    pod("forceEnableClusterMode"),
    pod("hostAliases"),
    pod("hostNetwork"),
    pod("hostUsers"),
    pod("image"),
    pod("imagePullPolicy"),
    pod("imagePullSecrets"),
    pod("initContainers"),
    optional("limits", Object(LIMITS)),
    pod("listenLocal"),
    optional("logFormat", OneOf(&["", "logfmt", "json"])),
    optional("logLevel", OneOf(&["", "debug", "info", "warn", "error"])),
    pod("minReadySeconds"),
    pod("nodeSelector"),
    pod("paused"),
    pod("persistentVolumeClaimRetentionPolicy"),
    pod("podManagementPolicy"),
    pod("podMetadata"),
    pod("portName"),
    pod("priorityClassName"),
    pod("replicas"),
    pod("resources"),
    optional("retention", Duration),
    optional("routePrefix", Text),
    pod("schedulerName"),
    pod("secrets"),
    pod("securityContext"),
    pod("serviceAccountName"),
    pod("serviceName"),
    pod("sha"),
    pod("storage"),
    pod("tag"),
    pod("terminationGracePeriodSeconds"),
    pod("tolerations"),
    pod("topologySpreadConstraints"),
    pod("updateStrategy"),
    pod("version"),
    pod("volumeMounts"),
    pod("volumes"),
    optional("web", Object(WEB)),
];
