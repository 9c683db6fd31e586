//! Attributes as labels: a data point's own, and `job` and `instance` of its resource.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use narthex_model::{INSTANCE, JOB, number};
use narthex_proto::opentelemetry::proto::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};

use super::names::label_name;

const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

/// Names and values, in no order.
pub type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// What identifies a resource in Prometheus's words.
#[derive(Debug, Default)]
pub struct Identity<'a> {
    job: Option<Cow<'a, str>>,
    instance: Option<Cow<'a, str>>,
}

impl<'a> Identity<'a> {
    /// `job` is the service's namespace and name, `instance` its instance's id.
    pub fn of(resource: Option<&'a Resource>) -> Self {
        let find = |name| {
            let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
            attributes.iter().find(|it| it.key == name).map(|it| text(it.value.as_ref()))
        };
        let job = match (find(SERVICE_NAMESPACE), find(SERVICE_NAME)) {
            (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}").into()),
            (_, name) => name,
        };
        Self { job, instance: find(SERVICE_INSTANCE) }
    }

    /// Whether nothing identifies the resource.
    pub fn is_unknown(&self) -> bool {
        self.job.is_none() && self.instance.is_none()
    }

    /// Labels of attributes and of the resource, whose own win. Attributes whose names become the
    /// same share a label, their values joined.
    pub fn labels(&'a self, attributes: &'a [KeyValue]) -> Pairs<'a> {
        let mut labels = labels(attributes, |_| true);
        for (name, value) in [(JOB, &self.job), (INSTANCE, &self.instance)] {
            if let Some(value) = value {
                labels.retain(|(found, _)| found != name);
                labels.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
        labels
    }

    /// Labels of the resource's `target_info`; `None` if it would say no more than `job` and
    /// `instance` do.
    pub fn target_info(&'a self, resource: Option<&'a Resource>) -> Option<Pairs<'a>> {
        let identifies =
            |key: &str| [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE].contains(&key);
        let attributes = &resource?.attributes;
        if self.is_unknown() || attributes.iter().all(|it| identifies(&it.key)) {
            return None;
        }
        let own = self.labels(&[]);
        let mut all = labels(attributes, |key| !identifies(key));
        all.retain(|(name, _)| own.iter().all(|(of_ours, _)| of_ours != name));
        all.extend(own);
        Some(all)
    }
}

fn labels<'a>(attributes: &'a [KeyValue], keep: impl Fn(&str) -> bool) -> Pairs<'a> {
    let mut sorted: Vec<&KeyValue> = attributes.iter().filter(|it| keep(&it.key)).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let named = |it: &'a KeyValue| Some((label_name(&it.key)?, text(it.value.as_ref())));
    let mut labels: Pairs<'_> = Vec::with_capacity(sorted.len() + 4);
    labels.extend(sorted.into_iter().filter_map(named));
    // Stable: values are joined in the order of their keys.
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.dedup_by(|(name, value), (kept, joined)| {
        if name == kept && value != joined {
            let joined = joined.to_mut();
            joined.push(';');
            joined.push_str(value);
        }
        name == kept
    });
    labels
}

/// A value as OpenTelemetry writes it where only text fits.
pub fn text(value: Option<&AnyValue>) -> Cow<'_, str> {
    match value.and_then(|value| value.value.as_ref()) {
        None => Cow::Borrowed(""),
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BoolValue(value)) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Some(Value::IntValue(value)) => Cow::Owned(value.to_string()),
        Some(Value::DoubleValue(value)) => Cow::Owned(number::format_json(*value)),
        Some(Value::BytesValue(bytes)) => Cow::Owned(STANDARD.encode(bytes)),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => {
            Cow::Owned(json(value.expect("it was matched")).to_string())
        }
    }
}

/// Depth is bounded by the decoders of both protobuf and JSON.
fn json(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        None => serde_json::Value::Null,
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(value)) => (*value).into(),
        Some(Value::IntValue(value)) => (*value).into(),
        Some(Value::DoubleValue(value)) => (*value).into(),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        Some(Value::ArrayValue(array)) => array.values.iter().map(json).collect(),
        Some(Value::KvlistValue(list)) => {
            let of = |it: &KeyValue| (it.key.clone(), it.value.as_ref().map(json).into());
            serde_json::Value::Object(list.values.iter().map(of).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use narthex_proto::opentelemetry::proto::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn any(value: Value) -> Option<AnyValue> {
        Some(AnyValue { value: Some(value) })
    }

    fn attribute(key: &str, value: &str) -> KeyValue {
        KeyValue { key: key.to_owned(), value: any(Value::StringValue(value.to_owned())) }
    }

    fn resource(attributes: &[(&str, &str)]) -> Resource {
        Resource { attributes: attributes.iter().map(|(k, v)| attribute(k, v)).collect() }
    }

    fn shown(pairs: &Pairs<'_>) -> String {
        let mut pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.sort();
        pairs.join(" ")
    }

    #[test]
    fn a_resource_is_job_and_instance() {
        let named = resource(&[("service.name", "api"), ("service.namespace", "shop")]);
        let identity = Identity::of(Some(&named));
        assert_eq!(shown(&identity.labels(&[])), "job=shop/api");
        assert_eq!(identity.target_info(Some(&named)), None, "it would say nothing more");
        let full = resource(&[
            ("service.name", "api"),
            ("service.instance.id", "i1"),
            ("host.name", "h"),
            ("job", "never"),
        ]);
        let identity = Identity::of(Some(&full));
        let point = [attribute("job", "mine"), attribute("code", "200")];
        assert_eq!(shown(&identity.labels(&point)), "code=200 instance=i1 job=api");
        let info = identity.target_info(Some(&full)).expect("it says more");
        assert_eq!(shown(&info), "host_name=h instance=i1 job=api");
        let unknown = resource(&[("host.name", "h")]);
        assert_eq!(Identity::of(Some(&unknown)).target_info(Some(&unknown)), None);
    }

    #[test]
    fn attributes_that_meet_in_one_label_are_joined() {
        let attributes = [
            attribute("a.b", "2"),
            attribute("a_b", "3"),
            attribute("a-b", "1"),
            attribute("a:b", "2"),
        ];
        assert_eq!(shown(&Identity::default().labels(&attributes)), "a_b=1;2;2;3");
    }

    #[test]
    fn every_kind_of_value_has_a_text() {
        let list = KeyValueList { values: vec![attribute("z", "1"), attribute("a", "\"")] };
        let array = vec![AnyValue { value: Some(Value::KvlistValue(list)) }, AnyValue::default()];
        let cases = [
            (Value::BoolValue(true), "true"),
            (Value::IntValue(-5), "-5"),
            (Value::DoubleValue(1.5), "1.5"),
            (Value::DoubleValue(1e21), "1e+21"),
            (Value::DoubleValue(2.0), "2"),
            (Value::BytesValue(vec![1, 2].into()), "AQI="),
            (Value::ArrayValue(ArrayValue { values: array }), r#"[{"a":"\"","z":"1"},null]"#),
        ];
        for (value, want) in cases {
            assert_eq!(text(any(value).as_ref()), want);
        }
    }
}
