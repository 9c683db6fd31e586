//! `ServiceMonitor`, `PodMonitor`, `Probe` and `PrometheusRule`.

use crate::schema::{
    COUNT, Field, INT_OR_TEXT, INTEGER, SCHEMES, SCRAPE_PROTOCOLS,
    Type::{
        Bool, ByteSize, Duration, Integer, List, Map, NonEmpty, NonEmptyList, Object, OneOf, Text,
    },
    idle, optional, required,
};

use super::parts::{
    ATTACH_METADATA, AUTHORIZATION, BASIC_AUTH, KEY_REFERENCE, LABEL_SELECTOR, OAUTH2, RELABELING,
    TLS_CONFIG, TLS_CONFIG_WITH_FILES,
};

const NAMESPACE_SELECTOR: &[Field] = &[optional("any", Bool), optional("matchNames", List(&Text))];

const POD_METRICS_ENDPOINT: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerTokenSecret", Object(KEY_REFERENCE)),
    optional("enableHttp2", Bool),
    optional("filterRunning", Bool),
    optional("followRedirects", Bool),
    optional("honorLabels", Bool),
    optional("honorTimestamps", Bool),
    optional("interval", Duration),
    optional("metricRelabelings", List(&Object(RELABELING))),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("params", Map(&List(&Text))),
    optional("path", Text),
    optional("port", Text),
    optional("portNumber", Integer { min: 1, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("relabelings", List(&Object(RELABELING))),
    optional("scheme", OneOf(SCHEMES)),
    optional("scrapeTimeout", Duration),
    optional("targetPort", INT_OR_TEXT),
    optional("tlsConfig", Object(TLS_CONFIG)),
    idle("trackTimestampsStaleness", Bool),
];

pub(crate) const POD_MONITOR_SPEC: &[Field] = &[
    optional("attachMetadata", Object(ATTACH_METADATA)),
    optional("bodySizeLimit", ByteSize),
    optional("convertClassicHistogramsToNHCB", Bool),
    optional("fallbackScrapeProtocol", OneOf(SCRAPE_PROTOCOLS)),
    optional("jobLabel", Text),
    optional("keepDroppedTargets", COUNT),
    optional("labelLimit", COUNT),
    optional("labelNameLengthLimit", COUNT),
    optional("labelValueLengthLimit", COUNT),
    optional("namespaceSelector", Object(NAMESPACE_SELECTOR)),
    optional("nativeHistogramBucketLimit", COUNT),
    optional("nativeHistogramMinBucketFactor", INT_OR_TEXT),
    optional("podMetricsEndpoints", List(&Object(POD_METRICS_ENDPOINT))),
    optional("podTargetLabels", List(&Text)),
    optional("sampleLimit", COUNT),
    optional("scrapeClass", NonEmpty),
    optional("scrapeClassicHistograms", Bool),
    optional("scrapeNativeHistograms", Bool),
    optional("scrapeProtocols", List(&OneOf(SCRAPE_PROTOCOLS))),
    required("selector", Object(LABEL_SELECTOR)),
    optional("selectorMechanism", OneOf(&["RelabelConfig", "RoleSelector"])),
    optional("targetLimit", COUNT),
];

const PARAMS: &[Field] = &[required("name", NonEmpty), optional("values", NonEmptyList(&NonEmpty))];

const PROBER: &[Field] = &[
    optional("noProxy", Text),
    optional("path", Text),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("scheme", OneOf(SCHEMES)),
    required("url", NonEmpty),
];

const INGRESS: &[Field] = &[
    optional("namespaceSelector", Object(NAMESPACE_SELECTOR)),
    optional("relabelingConfigs", List(&Object(RELABELING))),
    optional("selector", Object(LABEL_SELECTOR)),
];

const STATIC_CONFIG: &[Field] = &[
    optional("labels", Map(&Text)),
    optional("relabelingConfigs", List(&Object(RELABELING))),
    optional("static", List(&Text)),
];

const TARGETS: &[Field] =
    &[optional("ingress", Object(INGRESS)), optional("staticConfig", Object(STATIC_CONFIG))];

pub(crate) const PROBE_SPEC: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerTokenSecret", Object(KEY_REFERENCE)),
    optional("convertClassicHistogramsToNHCB", Bool),
    optional("enableHttp2", Bool),
    optional("fallbackScrapeProtocol", OneOf(SCRAPE_PROTOCOLS)),
    optional("followRedirects", Bool),
    optional("interval", Duration),
    optional("jobName", Text),
    optional("keepDroppedTargets", COUNT),
    optional("labelLimit", COUNT),
    optional("labelNameLengthLimit", COUNT),
    optional("labelValueLengthLimit", COUNT),
    optional("metricRelabelings", List(&Object(RELABELING))),
    optional("module", Text),
    optional("nativeHistogramBucketLimit", COUNT),
    optional("nativeHistogramMinBucketFactor", INT_OR_TEXT),
    optional("oauth2", Object(OAUTH2)),
    optional("params", NonEmptyList(&Object(PARAMS))),
    optional("prober", Object(PROBER)),
    optional("sampleLimit", COUNT),
    optional("scrapeClass", NonEmpty),
    optional("scrapeClassicHistograms", Bool),
    optional("scrapeNativeHistograms", Bool),
    optional("scrapeProtocols", List(&OneOf(SCRAPE_PROTOCOLS))),
    optional("scrapeTimeout", Duration),
    optional("targetLimit", COUNT),
    optional("targets", Object(TARGETS)),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const GROUPS_RULE: &[Field] = &[
    optional("alert", Text),
    optional("annotations", Map(&Text)),
    required("expr", INT_OR_TEXT),
    optional("for", Duration),
    optional("keep_firing_for", Duration),
    optional("labels", Map(&Text)),
    optional("record", Text),
];

const RULE_GROUP: &[Field] = &[
    optional("interval", Duration),
    optional("labels", Map(&Text)),
    optional("limit", INTEGER),
    required("name", NonEmpty),
    optional("partial_response_strategy", Text),
    optional("query_offset", Duration),
    optional("rules", List(&Object(GROUPS_RULE))),
];

pub(crate) const PROMETHEUS_RULE_SPEC: &[Field] = &[optional("groups", List(&Object(RULE_GROUP)))];

const ENDPOINT: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerTokenFile", Text),
    optional("bearerTokenSecret", Object(KEY_REFERENCE)),
    optional("enableHttp2", Bool),
    optional("filterRunning", Bool),
    optional("followRedirects", Bool),
    optional("honorLabels", Bool),
    optional("honorTimestamps", Bool),
    optional("interval", Duration),
    optional("metricRelabelings", List(&Object(RELABELING))),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("params", Map(&List(&Text))),
    optional("path", Text),
    optional("port", Text),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("relabelings", List(&Object(RELABELING))),
    optional("scheme", OneOf(SCHEMES)),
    optional("scrapeTimeout", Duration),
    optional("targetPort", INT_OR_TEXT),
    optional("tlsConfig", Object(TLS_CONFIG_WITH_FILES)),
    idle("trackTimestampsStaleness", Bool),
];

pub(crate) const SERVICE_MONITOR_SPEC: &[Field] = &[
    optional("attachMetadata", Object(ATTACH_METADATA)),
    optional("bodySizeLimit", ByteSize),
    optional("convertClassicHistogramsToNHCB", Bool),
    required("endpoints", List(&Object(ENDPOINT))),
    optional("fallbackScrapeProtocol", OneOf(SCRAPE_PROTOCOLS)),
    optional("jobLabel", Text),
    optional("keepDroppedTargets", COUNT),
    optional("labelLimit", COUNT),
    optional("labelNameLengthLimit", COUNT),
    optional("labelValueLengthLimit", COUNT),
    optional("namespaceSelector", Object(NAMESPACE_SELECTOR)),
    optional("nativeHistogramBucketLimit", COUNT),
    optional("nativeHistogramMinBucketFactor", INT_OR_TEXT),
    optional("podTargetLabels", List(&Text)),
    optional("sampleLimit", COUNT),
    optional("scrapeClass", NonEmpty),
    optional("scrapeClassicHistograms", Bool),
    optional("scrapeNativeHistograms", Bool),
    optional("scrapeProtocols", List(&OneOf(SCRAPE_PROTOCOLS))),
    required("selector", Object(LABEL_SELECTOR)),
    optional("selectorMechanism", OneOf(&["RelabelConfig", "RoleSelector"])),
    optional("serviceDiscoveryRole", OneOf(&["Endpoints", "EndpointSlice"])),
    optional("targetLabels", List(&Text)),
    optional("targetLimit", COUNT),
];
