//! Child nodes of `narthex up --nodes N`: started, watched, started again, stopped.
//!
//! Invariants
//! * a child has one task, which alone starts, waits for and kills it;
//! * children end when this process dies: each asks the kernel for it, and each holds the
//!   reading end of a pipe whose writing end is here;
//! * children are stopped one after the other, the last one first.
//!
//! Nothing here knows what a child does. [`core`] has the rules, [`task`] the processes.

mod core;
mod task;

pub use task::{Child, ChildHandle, spawn};
