//! Unit tests of rules, in the format of Prometheus's own tool.
//!
//! A test gives series, has the rules evaluated on them at every interval, and says which alerts
//! fire and what expressions answer at certain times. Everything happens in memory; whoever runs a
//! test reads the files and prints what failed.

mod check;
mod file;
mod run;

pub use file::{AlertCase, ExpectedAlert, ExpectedSample, ExprCase, Test, TestFile};
pub use run::{TestOptions, run};

#[cfg(test)]
mod tests;
