//! PromQL: text to syntax tree and back, plans over shards, evaluation over columns.
//!
//! Synchronous and without I/O: samples come from a source that the caller passes in, and nothing
//! here waits. Storage, network and time are absent.

pub mod annotations;
pub mod ast;
pub mod conformance;
pub mod eval;
mod functions;
mod parser;
pub mod plan;
mod pretty;
mod printer;
mod resolve;
pub mod types;
pub mod value;
pub mod wire;

pub use annotations::{Annotation, Annotations, Severity};
pub use ast::{Expr, ExprKind};
pub use eval::{
    Answer, CancelToken, EvalError, EvalOptions, EvalStats, SamplePool, SelectRequest,
    SelectedSeries, SeriesData, SeriesSource, SourceError, evaluate,
};
pub use parser::{ParseError, ParseOptions, line_and_column, parse, parse_selector};
pub use plan::{
    Fragment, FragmentAnswer, FragmentAnswers, FragmentContent, FragmentKind, Piece, Plan, Reach,
    SampledSeries, Scope, ScopedSource, cut, distribute, join, looks_ahead, newest_samples,
    run_fragment, stream_samples,
};
pub use pretty::pretty;
pub use resolve::{ResolveError, Steps, resolve};
pub use value::{MatrixSeries, Sample, SampleBuffer, SampleRef, Value, VectorElement};
