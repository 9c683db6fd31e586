//! The read front door: Prometheus's HTTP API, the gRPC query and cluster API, and the pages at `/`.
//!
//! A query is parsed and planned here, its fragments are evaluated on the shards, and their columns
//! are put together here. A querier keeps nothing but a second's worth of cluster status, and answers
//! that it checks before it goes on from them.
//!
//! There is no storage and no list of shards here; cluster state says where series are. PromQL
//! itself is `narthex-promql`.

#![forbid(unsafe_code)]

mod active;
mod answer;
mod api;
mod ask;
mod budget;
pub mod chunk;
mod cluster;
mod config_status;
pub mod error;
mod explain;
mod fan_out;
mod gate;
mod grpc;
mod hedge;
pub mod json;
mod metrics;
mod page;
pub mod params;
mod quarantine;
mod querier;
mod query;
mod raw;
mod relabelling;
mod render;
mod results;
mod sorted;
mod status;
#[cfg(test)]
mod test_cluster;
mod turn;

pub use api::syntax_tree;
pub use cluster::{Asked, Cluster};
pub use config_status::ConfigStatus;
pub use explain::{Explanation, FragmentExplained, PieceExplained, ShardExplained};
pub use metrics::QuerierMetrics;
pub use querier::{Querier, QuerierOptions};
pub use query::{Answered, QueryRequest, QueryStats};
pub use relabelling::{RelabelRule, RelabelStep, Relabelling};
pub use status::{ClusterStatus, EpochRow, GroupRow, MovesRow, NodeRow, ReplicaRow};
