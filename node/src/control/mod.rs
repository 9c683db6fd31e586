//! The control group: the one raft group that holds cluster state.
//!
//! Any node takes a request; only the group's leader proposes it, with its own time. Everybody
//! else follows the state that [`machine::ControlMachine`] publishes.

pub mod current;
pub mod founding;
pub mod joining;
pub(crate) mod keeper;
pub mod machine;
pub mod moves;
pub mod voters;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use narthex_cluster::{ClusterState, Command, DecodeError, NodeId, Outcome, Request, RequestId};
use narthex_model::Timestamp;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    planted::{Planted, is_planted},
    raft::{Group, ProposeError},
};

/// How long a request waits for a control leader: an election with room to spare.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request has no outcome. Each variant is one thing the asker does next.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Ask `leader`, or wait for an election when it is `None`.
    #[error("the control group is led by {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Ask again with the same request id: the outcome is remembered.
    #[error("the outcome of the request is not known")]
    Unknown,
    /// Correct the request: it will be refused every time.
    #[error("the request cannot be encoded")]
    Invalid(#[from] DecodeError),
}

/// This node's replica of the control group.
#[derive(Clone)]
pub struct Control {
    node: NodeId,
    group: Group,
    state: watch::Receiver<Arc<ClusterState>>,
    clock: Arc<dyn Clock>,
}

impl Control {
    /// The replica of `node` behind `group`, whose state is published to `state`.
    pub fn new(
        node: NodeId,
        group: Group,
        state: watch::Receiver<Arc<ClusterState>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { node, group, state, clock }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The raft group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Cluster state, now and from now on.
    pub fn state(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.state.clone()
    }

    /// Proposes a request, if this node leads the group. Asking twice with one id is one request.
    pub async fn request(&self, id: RequestId, command: Command) -> Result<Outcome, RequestError> {
        let leadership = *self.group.leadership().borrow();
        if !leadership.ready {
            let leader = leadership.leader.map(NodeId).filter(|&leader| leader != self.node);
            return Err(RequestError::NotLeader { leader });
        }
        let request = Request { id, at: self.now(), command };
        let entry = Bytes::from(request.encode()?);
        let proposal = self.group.propose(leadership.term, entry).await.map_err(request_error)?;
        if is_planted(Planted::AnsweredTooEarly) {
            let mut state = ClusterState::clone(&self.state.borrow());
            return Ok(state.apply(&request));
        }
        let outcome = proposal.await.map_err(request_error)?;
        Ok(Outcome::decode(&outcome.data)?)
    }

    /// The time of the next request: this node's, but never before an earlier request's.
    fn now(&self) -> Timestamp {
        self.clock.now().max(self.state.borrow().time())
    }
}

fn request_error(error: ProposeError) -> RequestError {
    match error {
        ProposeError::NotLeader { leader } => {
            RequestError::NotLeader { leader: leader.map(NodeId) }
        }
        ProposeError::Stalled => RequestError::NotLeader { leader: None },
        ProposeError::Lost => RequestError::Unknown,
    }
}
