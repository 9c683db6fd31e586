//! `Prometheus`.

use crate::schema::{
    COUNT, Field, INT_OR_TEXT, INTEGER, SCHEMES, SCRAPE_PROTOCOLS,
    Type::{
        Bool, ByteSize, Duration, Integer, List, Map, NonEmpty, NonEmptyList, Object, OneOf, Text,
    },
    idle, optional, pod, required,
};

use super::parts::{
    ATTACH_METADATA, AUTHORIZATION, BASIC_AUTH, KEY_REFERENCE, LABEL_SELECTOR, OAUTH2, RELABELING,
    SIGV4, TLS_CONFIG_WITH_FILES, WEB_HTTP_CONFIG, WEB_TLS_CONFIG,
};

const ALERTMANAGERS: &[Field] = &[
    optional("alertRelabelings", List(&Object(RELABELING))),
    optional("apiVersion", OneOf(&["v1", "V1", "v2", "V2"])),
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerTokenFile", Text),
    optional("enableHttp2", Bool),
    required("name", NonEmpty),
    optional("namespace", NonEmpty),
    optional("noProxy", Text),
    optional("pathPrefix", NonEmpty),
    required("port", INT_OR_TEXT),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("relabelings", List(&Object(RELABELING))),
    optional("scheme", OneOf(SCHEMES)),
    optional("sigv4", Object(SIGV4)),
    optional("timeout", Duration),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
];

const ALERTING: &[Field] = &[required("alertmanagers", List(&Object(ALERTMANAGERS)))];

const APISERVER_CONFIG_AUTHORIZATION: &[Field] = &[
    optional("credentials", Object(KEY_REFERENCE)),
    optional("credentialsFile", Text),
    optional("type", Text),
];

const APISERVER_CONFIG: &[Field] = &[
    optional("authorization", Object(APISERVER_CONFIG_AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerToken", Text),
    optional("bearerTokenFile", Text),
    required("host", Text),
    optional("noProxy", Text),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
];

const ARBITRARY_FS_ACCESS_THROUGH_SMS: &[Field] = &[optional("deny", Bool)];

const EXCLUDED_FROM_ENFORCEMENT: &[Field] = &[
    optional("group", OneOf(&["monitoring.coreos.com"])),
    optional("name", Text),
    required("namespace", NonEmpty),
    required(
        "resource",
        OneOf(&["prometheusrules", "servicemonitors", "podmonitors", "probes", "scrapeconfigs"]),
    ),
];

const EXEMPLARS: &[Field] = &[optional("maxSize", INTEGER)];

const OTLP: &[Field] = &[
    optional("convertHistogramsToNHCB", Bool),
    optional("ignoreResourceAttributes", NonEmptyList(&NonEmpty)),
    optional("keepIdentifyingResourceAttributes", Bool),
    optional("labelNamePreserveMultipleUnderscores", Bool),
    optional("labelNameUnderscoreSanitization", Bool),
    optional("promoteAllResourceAttributes", Bool),
    optional("promoteResourceAttributes", NonEmptyList(&NonEmpty)),
    optional("promoteScopeMetadata", Bool),
    optional(
        "translationStrategy",
        OneOf(&[
            "NoUTF8EscapingWithSuffixes",
            "UnderscoreEscapingWithSuffixes",
            "NoTranslation",
            "UnderscoreEscapingWithoutSuffixes",
        ]),
    ),
];

const PROMETHEUS_RULES_EXCLUDED_FROM_ENFORCE: &[Field] =
    &[required("ruleName", Text), required("ruleNamespace", Text)];

const QUERY: &[Field] = &[
    optional("lookbackDelta", Text),
    optional("maxConcurrency", Integer { min: 1, max: i64::MAX }),
    optional("maxSamples", INTEGER),
    optional("timeout", Duration),
];

const REMOTE_READ: &[Field] = &[
    optional("authorization", Object(APISERVER_CONFIG_AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerToken", Text),
    optional("bearerTokenFile", Text),
    optional("filterExternalLabels", Bool),
    optional("followRedirects", Bool),
    optional("headers", Map(&Text)),
    optional("name", Text),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("readRecent", Bool),
    optional("remoteTimeout", Duration),
    optional("requiredMatchers", Map(&Text)),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
    required("url", Text),
];

const MANAGED_IDENTITY: &[Field] = &[optional("clientId", NonEmpty)];

const OAUTH: &[Field] = &[
    required("clientId", NonEmpty),
    required("clientSecret", Object(KEY_REFERENCE)),
    required("tenantId", NonEmpty),
];

const SDK: &[Field] = &[optional("tenantId", Text)];

const WORKLOAD_IDENTITY: &[Field] =
    &[required("clientId", NonEmpty), required("tenantId", NonEmpty)];

const AZURE_AD: &[Field] = &[
    optional("cloud", OneOf(&["AzureChina", "AzureGovernment", "AzurePublic"])),
    optional("managedIdentity", Object(MANAGED_IDENTITY)),
    optional("oauth", Object(OAUTH)),
    optional("scope", Text),
    optional("sdk", Object(SDK)),
    optional("workloadIdentity", Object(WORKLOAD_IDENTITY)),
];

const METADATA_CONFIG: &[Field] = &[
    optional("maxSamplesPerSend", Integer { min: -1, max: i64::MAX }),
    optional("send", Bool),
    optional("sendInterval", Duration),
];

const QUEUE_CONFIG: &[Field] = &[
    optional("batchSendDeadline", Duration),
    optional("capacity", INTEGER),
    optional("maxBackoff", Duration),
    optional("maxRetries", INTEGER),
    optional("maxSamplesPerSend", INTEGER),
    optional("maxShards", INTEGER),
    optional("minBackoff", Duration),
    optional("minShards", INTEGER),
    optional("retryOnRateLimit", Bool),
    optional("sampleAgeLimit", Duration),
];

const REMOTE_WRITE: &[Field] = &[
    optional("authorization", Object(APISERVER_CONFIG_AUTHORIZATION)),
    optional("azureAd", Object(AZURE_AD)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerToken", Text),
    optional("bearerTokenFile", Text),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("headers", Map(&Text)),
    optional("messageVersion", OneOf(&["V1.0", "V2.0"])),
    optional("metadataConfig", Object(METADATA_CONFIG)),
    optional("name", Text),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("queueConfig", Object(QUEUE_CONFIG)),
    optional("remoteTimeout", Duration),
    optional("roundRobinDNS", Bool),
    optional("sendExemplars", Bool),
    optional("sendNativeHistograms", Bool),
    optional("sigv4", Object(SIGV4)),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
    required("url", Text),
    optional("writeRelabelConfigs", List(&Object(RELABELING))),
];

const ALERT: &[Field] = &[
    optional("forGracePeriod", Text),
    optional("forOutageTolerance", Text),
    optional("resendDelay", Text),
];

const RULE: &[Field] = &[optional("alert", Object(ALERT))];

const RUNTIME: &[Field] = &[optional("goGC", Integer { min: -1, max: i64::MAX })];

const SCRAPE_CLASS: &[Field] = &[
    optional("attachMetadata", Object(ATTACH_METADATA)),
    optional("authorization", Object(APISERVER_CONFIG_AUTHORIZATION)),
    optional("default", Bool),
    optional("fallbackScrapeProtocol", OneOf(SCRAPE_PROTOCOLS)),
    optional("metricRelabelings", List(&Object(RELABELING))),
    required("name", NonEmpty),
    optional("relabelings", List(&Object(RELABELING))),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
];

const RETAIN: &[Field] = &[required("retentionPeriod", Duration)];

const SHARD_RETENTION_POLICY: &[Field] =
    &[optional("retain", Object(RETAIN)), optional("whenScaled", OneOf(&["Retain", "Delete"]))];

const TOPOLOGY: &[Field] = &[optional("externalLabelName", Text), optional("values", List(&Text))];

const SHARDING_STRATEGY: &[Field] =
    &[optional("mode", OneOf(&["Address", "Topology"])), optional("topology", Object(TOPOLOGY))];

const TRACING_CONFIG: &[Field] = &[
    optional("clientType", OneOf(&["http", "grpc", "HTTP", "GRPC"])),
    optional("compression", OneOf(&["gzip", "Gzip"])),
    required("endpoint", NonEmpty),
    optional("headers", Map(&Text)),
    optional("insecure", Bool),
    optional("samplingFraction", INT_OR_TEXT),
    optional("timeout", Duration),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
];

const CHUNK_ENCODING: &[Field] = &[optional("floats", OneOf(&["Xor", "Xor2"]))];

const TSDB: &[Field] = &[
    optional("chunkEncoding", Object(CHUNK_ENCODING)),
    optional("outOfOrderTimeWindow", Duration),
    optional("staleSeriesCompactionThreshold", INT_OR_TEXT),
];

const PROMETHEUS_SPEC_WEB: &[Field] = &[
    optional("httpConfig", Object(WEB_HTTP_CONFIG)),
    optional("maxConnections", COUNT),
    optional("pageTitle", Text),
    optional("tlsConfig", Object(WEB_TLS_CONFIG)),
];

pub(crate) const PROMETHEUS_SPEC: &[Field] = &[
    idle("additionalAlertManagerConfigs", Object(KEY_REFERENCE)),
    idle("additionalAlertRelabelConfigs", Object(KEY_REFERENCE)),
    pod("additionalArgs"),
    optional("additionalScrapeConfigs", Object(KEY_REFERENCE)),
    pod("affinity"),
    idle("alerting", Object(ALERTING)),
    pod("allowOverlappingBlocks"),
    idle("apiserverConfig", Object(APISERVER_CONFIG)),
    optional("arbitraryFSAccessThroughSMs", Object(ARBITRARY_FS_ACCESS_THROUGH_SMS)),
    pod("automountServiceAccountToken"),
    pod("baseImage"),
    optional("bodySizeLimit", ByteSize),
    pod("configMaps"),
    pod("containers"),
    idle("convertClassicHistogramsToNHCB", Bool),
    pod("disableCompaction"),
    pod("dnsConfig"),
    pod("dnsPolicy"),
    idle("enableAdminAPI", Bool),
    idle("enableFeatures", List(&NonEmpty)),
    idle("enableOTLPReceiver", Bool),
    idle("enableRemoteWriteReceiver", Bool),
    pod("enableServiceLinks"),
    optional("enforcedBodySizeLimit", ByteSize),
    optional("enforcedKeepDroppedTargets", COUNT),
    optional("enforcedLabelLimit", COUNT),
    optional("enforcedLabelNameLengthLimit", COUNT),
    optional("enforcedLabelValueLengthLimit", COUNT),
    optional("enforcedNamespaceLabel", Text),
    optional("enforcedSampleLimit", COUNT),
    optional("enforcedTargetLimit", COUNT),
    idle("evaluationInterval", Duration),
    optional("excludedFromEnforcement", List(&Object(EXCLUDED_FROM_ENFORCEMENT))),
    idle("exemplars", Object(EXEMPLARS)),
    optional("externalLabels", Map(&Text)),
    idle("externalUrl", Text),
    pod("hostAliases"),
    pod("hostNetwork"),
    pod("hostUsers"),
    optional("ignoreNamespaceSelectors", Bool),
    pod("image"),
    pod("imagePullPolicy"),
    pod("imagePullSecrets"),
    pod("initContainers"),
    optional("keepDroppedTargets", COUNT),
    optional("labelLimit", COUNT),
    optional("labelNameLengthLimit", COUNT),
    optional("labelValueLengthLimit", COUNT),
    pod("listenLocal"),
    idle("logFormat", OneOf(&["", "logfmt", "json"])),
    idle("logLevel", OneOf(&["", "debug", "info", "warn", "error"])),
    pod("maximumStartupDurationSeconds"),
    pod("minReadySeconds"),
    idle("nameEscapingScheme", OneOf(&["AllowUTF8", "Underscores", "Dots", "Values"])),
    idle("nameValidationScheme", OneOf(&["UTF8", "Legacy"])),
    pod("nodeSelector"),
    idle("otlp", Object(OTLP)),
    optional("overrideHonorLabels", Bool),
    optional("overrideHonorTimestamps", Bool),
    pod("paused"),
    pod("persistentVolumeClaimRetentionPolicy"),
    pod("podManagementPolicy"),
    pod("podMetadata"),
    optional("podMonitorNamespaceSelector", Object(LABEL_SELECTOR)),
    optional("podMonitorSelector", Object(LABEL_SELECTOR)),
    optional("podTargetLabels", List(&Text)),
    pod("portName"),
    pod("priorityClassName"),
    optional("probeNamespaceSelector", Object(LABEL_SELECTOR)),
    optional("probeSelector", Object(LABEL_SELECTOR)),
    optional("prometheusExternalLabelName", Text),
    optional(
        "prometheusRulesExcludedFromEnforce",
        List(&Object(PROMETHEUS_RULES_EXCLUDED_FROM_ENFORCE)),
    ),
    idle("query", Object(QUERY)),
    idle("queryLogFile", Text),
    pod("reloadStrategy"),
    idle("remoteRead", List(&Object(REMOTE_READ))),
    idle("remoteWrite", List(&Object(REMOTE_WRITE))),
    idle("remoteWriteReceiverMessageVersions", NonEmptyList(&OneOf(&["V1.0", "V2.0"]))),
    optional("replicaExternalLabelName", Text),
    pod("replicas"),
    pod("resources"),
    idle("retention", Duration),
    idle("retentionSize", ByteSize),
    idle("routePrefix", Text),
    optional("ruleNamespaceSelector", Object(LABEL_SELECTOR)),
    idle("ruleQueryOffset", Duration),
    optional("ruleSelector", Object(LABEL_SELECTOR)),
    idle("rules", Object(RULE)),
    idle("runtime", Object(RUNTIME)),
    optional("sampleLimit", COUNT),
    pod("schedulerName"),
    optional("scrapeClasses", List(&Object(SCRAPE_CLASS))),
    idle("scrapeClassicHistograms", Bool),
    optional("scrapeConfigNamespaceSelector", Object(LABEL_SELECTOR)),
    optional("scrapeConfigSelector", Object(LABEL_SELECTOR)),
    idle("scrapeFailureLogFile", NonEmpty),
    optional("scrapeInterval", Duration),
    idle("scrapeNativeHistograms", Bool),
    idle("scrapeProtocols", List(&OneOf(SCRAPE_PROTOCOLS))),
    optional("scrapeTimeout", Duration),
    pod("secrets"),
    pod("securityContext"),
    pod("serviceAccountName"),
    optional("serviceDiscoveryRole", OneOf(&["Endpoints", "EndpointSlice"])),
    optional("serviceMonitorNamespaceSelector", Object(LABEL_SELECTOR)),
    optional("serviceMonitorSelector", Object(LABEL_SELECTOR)),
    pod("serviceName"),
    pod("sha"),
    idle("shardRetentionPolicy", Object(SHARD_RETENTION_POLICY)),
    idle("shardingStrategy", Object(SHARDING_STRATEGY)),
    idle("shards", INTEGER),
    pod("storage"),
    pod("tag"),
    optional("targetLimit", COUNT),
    pod("terminationGracePeriodSeconds"),
    pod("thanos"),
    pod("tolerations"),
    pod("topologySpreadConstraints"),
    idle("tracingConfig", Object(TRACING_CONFIG)),
    idle("tsdb", Object(TSDB)),
    pod("updateStrategy"),
    pod("version"),
    pod("volumeMounts"),
    pod("volumes"),
    pod("walCompression"),
    idle("web", Object(PROMETHEUS_SPEC_WEB)),
];
