//! `ScrapeConfig`, with the discoveries it may name.

use crate::schema::{
    COUNT, Field, INT_OR_TEXT, SCHEMES, SCRAPE_PROTOCOLS,
    Type::{
        Bool, ByteSize, Duration, Integer, List, Map, NonEmpty, NonEmptyList, Object, OneOf, Text,
    },
    idle, optional, required,
};

use super::parts::{
    ATTACH_METADATA, AUTHORIZATION, BASIC_AUTH, KEY_REFERENCE, OAUTH2, RELABELING, TLS_CONFIG,
};

const AZURE_SD: &[Field] = &[
    optional(
        "authenticationMethod",
        OneOf(&["OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"]),
    ),
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("clientID", NonEmpty),
    optional("clientSecret", Object(KEY_REFERENCE)),
    optional("enableHTTP2", Bool),
    optional("environment", NonEmpty),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("resourceGroup", NonEmpty),
    required("subscriptionID", NonEmpty),
    optional("tenantID", NonEmpty),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const CONSUL_SD: &[Field] = &[
    optional("allowStale", Bool),
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("datacenter", NonEmpty),
    optional("enableHTTP2", Bool),
    optional("filter", NonEmpty),
    optional("followRedirects", Bool),
    optional("healthFilter", NonEmpty),
    optional("namespace", NonEmpty),
    optional("noProxy", Text),
    optional("nodeMeta", Map(&Text)),
    optional("oauth2", Object(OAUTH2)),
    optional("partition", NonEmpty),
    optional("pathPrefix", NonEmpty),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("scheme", OneOf(SCHEMES)),
    required("server", NonEmpty),
    optional("services", List(&Text)),
    optional("tagSeparator", NonEmpty),
    optional("tags", List(&Text)),
    optional("tlsConfig", Object(TLS_CONFIG)),
    optional("tokenRef", Object(KEY_REFERENCE)),
];

const DIGITAL_OCEAN_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const DNS_SD: &[Field] = &[
    required("names", NonEmptyList(&NonEmpty)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("refreshInterval", Duration),
    optional("type", OneOf(&["A", "AAAA", "MX", "NS", "SRV"])),
];

const FILTERS: &[Field] =
    &[required("name", NonEmpty), required("values", NonEmptyList(&NonEmpty))];

const DOCKER_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("filters", List(&Object(FILTERS))),
    optional("followRedirects", Bool),
    required("host", NonEmpty),
    optional("hostNetworkingHost", NonEmpty),
    optional("matchFirstNetwork", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const DOCKER_SWARM_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("filters", List(&Object(FILTERS))),
    optional("followRedirects", Bool),
    required("host", Text),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    required("role", OneOf(&["Services", "Tasks", "Nodes"])),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const EC2_SD: &[Field] = &[
    optional("accessKey", Object(KEY_REFERENCE)),
    optional("enableHTTP2", Bool),
    optional("filters", List(&Object(FILTERS))),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("region", NonEmpty),
    optional("roleARN", NonEmpty),
    optional("secretKey", Object(KEY_REFERENCE)),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const EUREKA_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    required("server", Text),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const FILE_SD: &[Field] =
    &[required("files", NonEmptyList(&Text)), optional("refreshInterval", Duration)];

const GCE_SD: &[Field] = &[
    optional("filter", NonEmpty),
    optional("port", Integer { min: 0, max: 65535 }),
    required("project", NonEmpty),
    optional("refreshInterval", Duration),
    optional("tagSeparator", NonEmpty),
    required("zone", NonEmpty),
];

const HETZNER_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("labelSelector", NonEmpty),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    required("role", OneOf(&["hcloud", "Hcloud", "robot", "Robot"])),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const HTTP_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("tlsConfig", Object(TLS_CONFIG)),
    required("url", Text),
];

const IONOS_SD: &[Field] = &[
    required("authorization", Object(AUTHORIZATION)),
    required("datacenterID", NonEmpty),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const NAMESPACES: &[Field] = &[optional("names", List(&Text)), optional("ownNamespace", Bool)];

const SELECTORS: &[Field] = &[
    optional("field", NonEmpty),
    optional("label", NonEmpty),
    required("role", OneOf(&["Pod", "Endpoints", "Ingress", "Service", "Node", "EndpointSlice"])),
];

const KUBERNETES_SD: &[Field] = &[
    optional("apiServer", NonEmpty),
    optional("attachMetadata", Object(ATTACH_METADATA)),
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("namespaces", Object(NAMESPACES)),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    required("role", OneOf(&["Pod", "Endpoints", "Ingress", "Service", "Node", "EndpointSlice"])),
    optional("selectors", List(&Object(SELECTORS))),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const KUMA_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("clientID", NonEmpty),
    optional("enableHTTP2", Bool),
    optional("fetchTimeout", Duration),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    required("server", Text),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const LIGHT_SAIL_SD: &[Field] = &[
    optional("accessKey", Object(KEY_REFERENCE)),
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("endpoint", NonEmpty),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("region", NonEmpty),
    optional("roleARN", NonEmpty),
    optional("secretKey", Object(KEY_REFERENCE)),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const LINODE_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("region", NonEmpty),
    optional("tagSeparator", NonEmpty),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const NOMAD_SD: &[Field] = &[
    optional("allowStale", Bool),
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("namespace", NonEmpty),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    optional("region", NonEmpty),
    required("server", Text),
    optional("tagSeparator", NonEmpty),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const OPENSTACK_SD: &[Field] = &[
    optional("allTenants", Bool),
    optional("applicationCredentialId", NonEmpty),
    optional("applicationCredentialName", NonEmpty),
    optional("applicationCredentialSecret", Object(KEY_REFERENCE)),
    optional(
        "availability",
        OneOf(&["Public", "public", "Admin", "admin", "Internal", "internal"]),
    ),
    optional("domainID", NonEmpty),
    optional("domainName", NonEmpty),
    optional("identityEndpoint", Text),
    optional("password", Object(KEY_REFERENCE)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("projectID", NonEmpty),
    optional("projectName", NonEmpty),
    optional("refreshInterval", Duration),
    required("region", NonEmpty),
    required("role", OneOf(&["Instance", "Hypervisor", "LoadBalancer"])),
    optional("tlsConfig", Object(TLS_CONFIG)),
    optional("userid", NonEmpty),
    optional("username", NonEmpty),
];

const OVHCLOUD_SD: &[Field] = &[
    required("applicationKey", NonEmpty),
    required("applicationSecret", Object(KEY_REFERENCE)),
    required("consumerKey", Object(KEY_REFERENCE)),
    optional("endpoint", NonEmpty),
    optional("refreshInterval", Duration),
    required("service", OneOf(&["VPS", "DedicatedServer"])),
];

const PUPPET_DB_SD: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("includeParameters", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("port", Integer { min: 0, max: 65535 }),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    required("query", NonEmpty),
    optional("refreshInterval", Duration),
    optional("tlsConfig", Object(TLS_CONFIG)),
    required("url", Text),
];

const SCALEWAY_SD: &[Field] = &[
    required("accessKey", NonEmpty),
    optional("apiURL", Text),
    optional("enableHTTP2", Bool),
    optional("followRedirects", Bool),
    optional("nameFilter", NonEmpty),
    optional("noProxy", Text),
    optional("port", Integer { min: 0, max: 65535 }),
    required("projectID", NonEmpty),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("refreshInterval", Duration),
    required("role", OneOf(&["Instance", "Baremetal"])),
    required("secretKey", Object(KEY_REFERENCE)),
    optional("tagsFilter", NonEmptyList(&NonEmpty)),
    optional("tlsConfig", Object(TLS_CONFIG)),
    optional("zone", NonEmpty),
];

const STATIC_CONFIGS: &[Field] =
    &[optional("labels", Map(&Text)), required("targets", NonEmptyList(&NonEmpty))];

pub(crate) const SCRAPE_CONFIG_SPEC: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("azureSDConfigs", List(&Object(AZURE_SD))),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bodySizeLimit", ByteSize),
    optional("consulSDConfigs", List(&Object(CONSUL_SD))),
    optional("convertClassicHistogramsToNHCB", Bool),
    optional("digitalOceanSDConfigs", List(&Object(DIGITAL_OCEAN_SD))),
    optional("dnsSDConfigs", List(&Object(DNS_SD))),
    optional("dockerSDConfigs", List(&Object(DOCKER_SD))),
    optional("dockerSwarmSDConfigs", List(&Object(DOCKER_SWARM_SD))),
    optional("ec2SDConfigs", List(&Object(EC2_SD))),
    optional("enableCompression", Bool),
    optional("enableHTTP2", Bool),
    optional("eurekaSDConfigs", List(&Object(EUREKA_SD))),
    optional("fallbackScrapeProtocol", OneOf(SCRAPE_PROTOCOLS)),
    optional("fileSDConfigs", List(&Object(FILE_SD))),
    optional("gceSDConfigs", List(&Object(GCE_SD))),
    optional("hetznerSDConfigs", List(&Object(HETZNER_SD))),
    optional("honorLabels", Bool),
    optional("honorTimestamps", Bool),
    optional("httpSDConfigs", List(&Object(HTTP_SD))),
    optional("ionosSDConfigs", List(&Object(IONOS_SD))),
    optional("jobName", NonEmpty),
    optional("keepDroppedTargets", COUNT),
    optional("kubernetesSDConfigs", List(&Object(KUBERNETES_SD))),
    optional("kumaSDConfigs", List(&Object(KUMA_SD))),
    optional("labelLimit", COUNT),
    optional("labelNameLengthLimit", COUNT),
    optional("labelValueLengthLimit", COUNT),
    optional("lightSailSDConfigs", List(&Object(LIGHT_SAIL_SD))),
    optional("linodeSDConfigs", List(&Object(LINODE_SD))),
    optional("metricRelabelings", NonEmptyList(&Object(RELABELING))),
    optional("metricsPath", NonEmpty),
    optional("nameEscapingScheme", OneOf(&["AllowUTF8", "Underscores", "Dots", "Values"])),
    optional("nameValidationScheme", OneOf(&["UTF8", "Legacy"])),
    optional("nativeHistogramBucketLimit", COUNT),
    optional("nativeHistogramMinBucketFactor", INT_OR_TEXT),
    optional("noProxy", Text),
    optional("nomadSDConfigs", List(&Object(NOMAD_SD))),
    optional("oauth2", Object(OAUTH2)),
    optional("openstackSDConfigs", List(&Object(OPENSTACK_SD))),
    optional("ovhcloudSDConfigs", List(&Object(OVHCLOUD_SD))),
    optional("params", Map(&List(&Text))),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyUrl", Text),
    optional("puppetDBSDConfigs", List(&Object(PUPPET_DB_SD))),
    optional("relabelings", NonEmptyList(&Object(RELABELING))),
    optional("sampleLimit", COUNT),
    optional("scalewaySDConfigs", List(&Object(SCALEWAY_SD))),
    optional("scheme", OneOf(SCHEMES)),
    optional("scrapeClass", NonEmpty),
    optional("scrapeClassicHistograms", Bool),
    optional("scrapeInterval", Duration),
    optional("scrapeNativeHistograms", Bool),
    optional("scrapeProtocols", NonEmptyList(&OneOf(SCRAPE_PROTOCOLS))),
    optional("scrapeTimeout", Duration),
    optional("staticConfigs", List(&Object(STATIC_CONFIGS))),
    optional("targetLimit", COUNT),
    optional("tlsConfig", Object(TLS_CONFIG)),
    idle("trackTimestampsStaleness", Bool),
];
