//! PromQL: text to syntax tree and back, plans over shards, evaluation over columns.
//!
//! Synchronous and without I/O: samples come from a source that the caller passes in, and nothing
//! here waits. Storage, network and time are absent.

pub mod ast;
mod parser;
mod printer;
mod resolve;
pub mod types;

pub use parser::{ParseError, ParseOptions, line_and_column, parse, parse_selector};
pub use resolve::{ResolveError, Steps, resolve};
