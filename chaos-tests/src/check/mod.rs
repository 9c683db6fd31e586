//! What is asked of a run when it is over.

pub mod linearizable;
pub mod monotonic;
pub mod recovery;
pub mod replicas;
pub mod resources;
pub mod scrapes;
