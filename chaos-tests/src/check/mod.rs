//! What is asked of a run when it is over.

pub mod linearizable;
pub mod scrapes;
