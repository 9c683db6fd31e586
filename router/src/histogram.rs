//! Native histograms of remote write, which are written alike in versions 1.0 and 2.0.

use crate::wire::Reader;

/// A `Histogram` that is not read yet.
#[derive(Debug, Clone, Copy)]
pub struct HistogramMessage<'a> {
    #[expect(dead_code, reason = "read once shards store histograms")]
    message: Reader<'a>,
}

impl<'a> HistogramMessage<'a> {
    pub(crate) fn new(message: Reader<'a>) -> Self {
        Self { message }
    }
}
