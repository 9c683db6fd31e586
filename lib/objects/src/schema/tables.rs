//! The tables, a file for kinds that share shapes.

mod alertmanager;
mod alertmanager_config;
mod core;
mod monitors;
mod parts;
mod prometheus;
mod scrape_config;

use super::{Field, Type::Object, optional, required};
use crate::{Kind, schema::Type};

/// The fields of an object of the Operator's group, around its own ones.
macro_rules! monitoring {
    ($spec:expr) => {
        const {
            &[
                required("apiVersion", Type::NonEmpty),
                required("kind", Type::NonEmpty),
                required("metadata", Object(core::METADATA)),
                required("spec", Object($spec)),
                optional("status", Type::Any),
            ]
        }
    };
}

/// The fields of a kind.
pub(super) fn of(kind: Kind, version: &str) -> &'static [Field] {
    match kind {
        Kind::Namespace => core::NAMESPACE,
        Kind::Secret => core::SECRET,
        Kind::ConfigMap => core::CONFIG_MAP,
        Kind::Service => core::SERVICE,
        Kind::Endpoints => core::ENDPOINTS,
        Kind::EndpointSlice => core::ENDPOINT_SLICE,
        Kind::Pod => core::POD,
        Kind::Node => core::NODE,
        Kind::Ingress => core::INGRESS,
        Kind::Prometheus => monitoring!(prometheus::PROMETHEUS_SPEC),
        Kind::Alertmanager => monitoring!(alertmanager::ALERTMANAGER_SPEC),
        Kind::ServiceMonitor => monitoring!(monitors::SERVICE_MONITOR_SPEC),
        Kind::PodMonitor => monitoring!(monitors::POD_MONITOR_SPEC),
        Kind::Probe => monitoring!(monitors::PROBE_SPEC),
        Kind::ScrapeConfig => monitoring!(scrape_config::SCRAPE_CONFIG_SPEC),
        Kind::PrometheusRule => monitoring!(monitors::PROMETHEUS_RULE_SPEC),
        Kind::AlertmanagerConfig if version.ends_with("/v1beta1") => {
            monitoring!(alertmanager_config::V1BETA1_SPEC)
        }
        Kind::AlertmanagerConfig => monitoring!(alertmanager_config::ALERTMANAGER_CONFIG_SPEC),
    }
}
