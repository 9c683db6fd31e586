//! What answers the expressions of rules: a querier of the node's own process.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use narthex_model::{Labels, Timestamp};
use narthex_node::{node::Node, rules::RuleQueries};
use narthex_promql::{ParseOptions, Sample, Steps, Value, VectorElement};
use narthex_proto::internal::v1::Consistency;
use narthex_querier::{Querier, QuerierOptions, QueryRequest};
use narthex_web::Clock;
use prometheus_client::registry::Registry;

/// How rules' expressions are evaluated.
pub struct RuleQuerying {
    /// What queries of rules may take in memory, of all together, in bytes.
    pub memory_bytes_max: u64,
    /// As the flags of queries say, where the process has any.
    pub options: QuerierOptions,
    /// Where people reach the cluster.
    pub external_url: String,
}

/// Whom slow queries and lists of active ones name.
const USER: &str = "rules";
/// Expressions that are evaluated at once, those of templates included.
const CONCURRENT_MAX: usize = 20;

/// Has `node` evaluate the rules of the shards that it leads.
pub fn evaluate(node: &Node, querying: RuleQuerying) {
    let RuleQuerying { memory_bytes_max, options, external_url } = querying;
    let options = QuerierOptions {
        concurrency_max: CONCURRENT_MAX,
        memory_bytes_max: usize::try_from(memory_bytes_max).unwrap_or(usize::MAX),
        // A rule sees a whole answer or none, and is tried again each time.
        partial_response: false,
        quarantine_after: 0,
        // They were checked by whoever imported them.
        parse: ParseOptions::everything(),
        ..options
    };
    let timeout = options.timeout;
    let cluster = Arc::new(node.client());
    // What it counts is that of rules, which has metrics of its own.
    let querier = Querier::new(cluster, Clock::system(), options, &mut Registry::default());
    node.evaluate_rules(Arc::new(RuleQuerier { querier, timeout }), external_url);
}

struct RuleQuerier {
    querier: Arc<Querier>,
    timeout: Duration,
}

impl RuleQueries for RuleQuerier {
    fn query<'a>(
        &'a self,
        query: &'a str,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<VectorElement>, String>> {
        Box::pin(async move {
            let request = QueryRequest {
                text: query.to_owned(),
                steps: Steps { start: time, end: time, step_millis: 0 },
                timeout: Some(self.timeout),
                lookback: None,
                partial_response: false,
                consistency: Consistency::Linearizable,
                user: USER.into(),
                counts_samples: false,
                remembers: false,
            };
            match self.querier.query(&request).await {
                Ok(answered) => vector(answered.value, time),
                Err(error) => Err(error.message),
            }
        })
    }
}

/// The answer as rules take it: a scalar is one element without labels.
fn vector(value: Value, time: Timestamp) -> Result<Vec<VectorElement>, String> {
    match value {
        Value::Vector(elements) => Ok(elements),
        Value::Scalar(point) => {
            let (labels, sample) = (Labels::empty(), Sample::Float(point.value));
            Ok(vec![VectorElement { labels, timestamp: time, sample }])
        }
        _ => Err("rule result is not a vector or scalar".to_owned()),
    }
}
