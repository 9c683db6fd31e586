//! Config objects, in the Prometheus Operator's schemas: what they may say, and what follows from
//! them.
//!
//! A text becomes documents ([`read_documents`]), a document a checked [`Manifest`], which cluster
//! state keeps as an object; from all objects of a state follow the scrape jobs with their targets
//! ([`generate()`]) and the rule groups ([`rule_files`]).
//!
//! Invariants
//! * a manifest was checked whole: every problem names a field by its path;
//! * equal manifests have equal bodies, byte for byte;
//! * equal objects give equal jobs, in the same order, on every node;
//! * one object that cannot be used keeps no other from being used.
//!
//! There is no I/O here and no clock, and nothing is fetched from Kubernetes.

#![forbid(unsafe_code)]

mod document;
mod generate;
mod kind;
mod manifest;
mod problem;
mod rules;
mod schema;
mod select;
mod semantics;
mod targets;
mod types;
mod why;

pub use document::read_documents;
pub use generate::{Generated, Group, Job, Rejected, generate};
pub use kind::{Kind, UnknownKind};
pub use manifest::{MASKED, Manifest, render};
pub use problem::{Note, Problem};
pub use rules::{NamedRuleFile, rule_files};
pub use schema::{Explained, Reference, explain};
pub use why::selection;
