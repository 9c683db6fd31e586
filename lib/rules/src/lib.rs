//! Recording and alerting rules: their files, and what they make of what a query answers.
//!
//! A file is checked whole, as Prometheus checks it ([`RuleFile`]). The expression of a rule is
//! evaluated elsewhere; what the answer means is decided here.
//!
//! There is no clock and no I/O here: time, answers and files' texts are passed in.

#![forbid(unsafe_code)]

mod evaluation;
mod expansion;
mod file;
mod functions;
mod lint;
mod stages;
pub mod unit_test;

pub use evaluation::{ALERT_NAME, Alert, AlertState, RuleError, RuleState};
pub use expansion::Expansion;
pub use file::{Alerting, Rule, RuleFile, RuleGroup, RuleKind};
pub use functions::Queries;
pub use lint::{Duplicate, duplicates};
pub use stages::stages;
