//! Kubernetes's own kinds. Of inventory the fields that make targets are known, and others are
//! taken as they are.

use crate::schema::{
    Field,
    Type::{Any, Bool, Integer, List, Map, NonEmpty, Object, Open, Text},
    optional, required,
};

const PORT: crate::schema::Type = Integer { min: 0, max: 65_535 };

pub(super) const METADATA: &[Field] = &[
    required("name", NonEmpty),
    optional("namespace", Text),
    optional("labels", Map(&Text)),
    optional("annotations", Map(&Text)),
    optional("resourceVersion", Text),
    optional("uid", Text),
    optional("generation", Any),
    optional("creationTimestamp", Any),
    optional("deletionTimestamp", Any),
    optional("deletionGracePeriodSeconds", Any),
    optional("finalizers", List(&Text)),
    optional("managedFields", Any),
    optional("generateName", Text),
    optional("selfLink", Text),
    optional("ownerReferences", List(&Open(OWNER_REFERENCE))),
];

const OWNER_REFERENCE: &[Field] =
    &[required("kind", NonEmpty), required("name", NonEmpty), optional("controller", Bool)];

/// The fields of a core object, around its own ones.
macro_rules! core {
    ($($field:expr),* $(,)?) => {
        &[
            required("apiVersion", NonEmpty),
            required("kind", NonEmpty),
            required("metadata", Object(METADATA)),
            $($field),*
        ]
    };
}

pub(super) const NAMESPACE: &[Field] = core![optional("spec", Any), optional("status", Any)];

pub(super) const SECRET: &[Field] = core![
    optional("data", Map(&Text)),
    optional("stringData", Map(&Text)),
    optional("type", Text),
    optional("immutable", Bool),
];

pub(super) const CONFIG_MAP: &[Field] = core![
    optional("data", Map(&Text)),
    optional("binaryData", Map(&Text)),
    optional("immutable", Bool),
];

pub(super) const SERVICE: &[Field] =
    core![optional("spec", Open(SERVICE_SPEC)), optional("status", Any)];

const SERVICE_SPEC: &[Field] = &[
    optional("type", Text),
    optional("clusterIP", Text),
    optional("externalName", Text),
    optional("loadBalancerIP", Text),
    optional("selector", Map(&Text)),
    optional("ports", List(&Open(SERVICE_PORT))),
];

const SERVICE_PORT: &[Field] = &[
    required("port", PORT),
    optional("name", Text),
    optional("protocol", Text),
    optional("targetPort", crate::schema::INT_OR_TEXT),
];

pub(super) const ENDPOINTS: &[Field] = core![optional("subsets", List(&Open(SUBSET)))];

const SUBSET: &[Field] = &[
    optional("addresses", List(&Open(ENDPOINT_ADDRESS))),
    optional("notReadyAddresses", List(&Open(ENDPOINT_ADDRESS))),
    optional("ports", List(&Open(ENDPOINT_PORT))),
];

const ENDPOINT_ADDRESS: &[Field] = &[
    required("ip", NonEmpty),
    optional("hostname", Text),
    optional("nodeName", Text),
    optional("targetRef", Open(TARGET_REFERENCE)),
];

const TARGET_REFERENCE: &[Field] =
    &[optional("kind", Text), optional("name", Text), optional("namespace", Text)];

const ENDPOINT_PORT: &[Field] = &[
    optional("port", PORT),
    optional("name", Text),
    optional("protocol", Text),
    optional("appProtocol", Text),
];

pub(super) const ENDPOINT_SLICE: &[Field] = core![
    optional("addressType", Text),
    optional("endpoints", List(&Open(SLICE_ENDPOINT))),
    optional("ports", List(&Open(ENDPOINT_PORT))),
];

const SLICE_ENDPOINT: &[Field] = &[
    required("addresses", List(&NonEmpty)),
    optional("conditions", Open(CONDITIONS)),
    optional("hostname", Text),
    optional("nodeName", Text),
    optional("zone", Text),
    optional("deprecatedTopology", Map(&Text)),
    optional("targetRef", Open(TARGET_REFERENCE)),
];

const CONDITIONS: &[Field] =
    &[optional("ready", Bool), optional("serving", Bool), optional("terminating", Bool)];

pub(super) const POD: &[Field] =
    core![optional("spec", Open(POD_SPEC)), optional("status", Open(POD_STATUS))];

const POD_SPEC: &[Field] = &[
    optional("nodeName", Text),
    optional("containers", List(&Open(CONTAINER))),
    optional("initContainers", List(&Open(CONTAINER))),
];

const CONTAINER: &[Field] = &[
    required("name", NonEmpty),
    optional("image", Text),
    optional("ports", List(&Open(CONTAINER_PORT))),
];

const CONTAINER_PORT: &[Field] =
    &[required("containerPort", PORT), optional("name", Text), optional("protocol", Text)];

const POD_STATUS: &[Field] = &[
    optional("podIP", Text),
    optional("hostIP", Text),
    optional("phase", Text),
    optional("conditions", List(&Open(CONDITION))),
    optional("containerStatuses", List(&Open(CONTAINER_STATUS))),
    optional("initContainerStatuses", List(&Open(CONTAINER_STATUS))),
];

const CONDITION: &[Field] = &[required("type", Text), required("status", Text)];

const CONTAINER_STATUS: &[Field] = &[required("name", Text), optional("containerID", Text)];

pub(super) const NODE: &[Field] =
    core![optional("spec", Open(NODE_SPEC)), optional("status", Open(NODE_STATUS))];

const NODE_SPEC: &[Field] = &[optional("providerID", Text)];

const NODE_STATUS: &[Field] = &[
    optional("addresses", List(&Open(NODE_ADDRESS))),
    optional("conditions", List(&Open(CONDITION))),
    optional("daemonEndpoints", Open(DAEMON_ENDPOINTS)),
];

const NODE_ADDRESS: &[Field] = &[required("type", NonEmpty), required("address", NonEmpty)];

const DAEMON_ENDPOINTS: &[Field] = &[optional("kubeletEndpoint", Open(KUBELET_ENDPOINT))];

// Kubernetes writes this one in capitals.
const KUBELET_ENDPOINT: &[Field] = &[optional("Port", PORT)];

pub(super) const INGRESS: &[Field] =
    core![optional("spec", Open(INGRESS_SPEC)), optional("status", Any)];

const INGRESS_SPEC: &[Field] = &[
    optional("ingressClassName", Text),
    optional("tls", List(&Open(INGRESS_TLS))),
    optional("rules", List(&Open(INGRESS_RULE))),
];

const INGRESS_TLS: &[Field] = &[optional("hosts", List(&Text))];

const INGRESS_RULE: &[Field] = &[optional("host", Text), optional("http", Open(INGRESS_HTTP))];

const INGRESS_HTTP: &[Field] = &[optional("paths", List(&Open(INGRESS_PATH)))];

const INGRESS_PATH: &[Field] = &[optional("path", Text)];
