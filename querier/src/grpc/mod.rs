//! The public gRPC API: `narthex.v1.Query` and `narthex.v1.Cluster`.

mod cluster;
mod names;
mod query;

use std::sync::Arc;

use narthex_proto::{
    PUBLIC_DESCRIPTORS,
    v1::{cluster_server::ClusterServer, query_server::QueryServer},
};
use narthex_web::Routes;

use crate::Querier;

/// Largest message, both ways: an answer of a few million points.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

impl Querier {
    /// Adds the gRPC services that a querier serves, with reflection.
    pub fn add_services(self: &Arc<Self>, routes: &mut Routes) {
        let query = QueryServer::new(query::QueryService(Arc::clone(self)))
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let cluster = ClusterServer::new(cluster::ClusterService(Arc::clone(self)));
        routes.grpc(query).grpc(cluster).reflect(PUBLIC_DESCRIPTORS);
    }
}
