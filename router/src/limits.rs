//! How much a sender may send. What would exceed a limit is refused with the limit's name, its
//! value and what was sent; nothing is cut to fit.

use crate::split::RefuseReason;

/// The flag of [`Limits::request_bytes_max`].
pub const REQUEST_BYTES_KEY: &str = "--ingest.max-request-bytes";
/// The flag of [`Limits::memory_bytes_max`].
pub const MEMORY_BYTES_KEY: &str = "--ingest.max-memory-bytes";
/// The flag of [`Limits::labels_max`].
pub const LABELS_KEY: &str = "--ingest.max-labels-per-series";
/// The flag of [`Limits::label_name_bytes_max`].
pub const LABEL_NAME_BYTES_KEY: &str = "--ingest.max-label-name-length";
/// The flag of [`Limits::label_value_bytes_max`].
pub const LABEL_VALUE_BYTES_KEY: &str = "--ingest.max-label-value-length";

/// See [`Limits::parts_bytes_max`].
pub(crate) const PARTS_FACTOR: usize = 4;

/// The largest request there can be: its parts are found by 32 bits.
const REQUEST_BYTES_BOUND: usize = 1 << 30;

/// Limits that make no sense together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLimits {
    /// Lower the first or raise the second.
    #[error("{REQUEST_BYTES_KEY} of {request} is above {MEMORY_BYTES_KEY} of {memory}")]
    RequestBeyondMemory {
        /// Bytes of a request.
        request: usize,
        /// Bytes of all requests.
        memory: usize,
    },
    /// Lower it.
    #[error("{REQUEST_BYTES_KEY} of {0} is above {REQUEST_BYTES_BOUND}")]
    RequestTooLarge(usize),
}

/// What a router takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request once decompressed. Default 32 MiB, Prometheus's; senders send less
    /// than a tenth of it.
    pub request_bytes_max: usize,
    /// Bytes of all requests under way: as received, decompressed, and what their parts take beyond
    /// that. More is told to wait, so that a burst costs senders a pause and not this process its
    /// memory. Default 256 MiB.
    pub memory_bytes_max: usize,
    /// Labels of a series, its name among them. Default 0: no limit.
    pub labels_max: usize,
    /// Bytes of a label's name. Default 0: no limit.
    pub label_name_bytes_max: usize,
    /// Bytes of a label's value. Default 0: no limit.
    pub label_value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 32 << 20,
            memory_bytes_max: 256 << 20,
            labels_max: 0,
            label_name_bytes_max: 0,
            label_value_bytes_max: 0,
        }
    }
}

impl Limits {
    /// Checks them against each other.
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        let (request, memory) = (self.request_bytes_max, self.memory_bytes_max);
        if request > REQUEST_BYTES_BOUND {
            return Err(InvalidLimits::RequestTooLarge(request));
        }
        match request > memory {
            true => Err(InvalidLimits::RequestBeyondMemory { request, memory }),
            false => Ok(()),
        }
    }

    /// The memory for requests in KiB, which is how it is handed out.
    pub(crate) fn memory_kib(&self) -> usize {
        self.memory_bytes_max.div_ceil(1024)
    }

    /// What the parts of a request may take beyond its body, and what a library may take to decode
    /// it: a real one takes less, however large.
    pub fn parts_bytes_max(&self) -> usize {
        (PARTS_FACTOR * self.request_bytes_max).min(self.memory_bytes_max)
    }

    /// Why a request must wait.
    pub(crate) fn memory_is_full(&self) -> String {
        let bytes = self.memory_bytes_max;
        format!("requests under way have reached the limit of {bytes} bytes ({MEMORY_BYTES_KEY})")
    }

    /// The limit that the labels of a series exceed, with its value and what was sent.
    pub(crate) fn exceeded_by(&self, labels: &[(&str, &str)]) -> Option<(RefuseReason, String)> {
        let exceeds = |limit: usize, sent: usize| limit > 0 && sent > limit;
        let excess = |what: &str, (sent, limit): (usize, usize), key: &str| {
            format!("{what} of {sent} exceeds the limit of {limit} ({key})")
        };
        if exceeds(self.labels_max, labels.len()) {
            let what = excess("number of labels", (labels.len(), self.labels_max), LABELS_KEY);
            return Some((RefuseReason::TooManyLabels, what));
        }
        for (name, value) in labels {
            if exceeds(self.label_name_bytes_max, name.len()) {
                let sizes = (name.len(), self.label_name_bytes_max);
                let what = excess("label name length", sizes, LABEL_NAME_BYTES_KEY);
                return Some((RefuseReason::LabelNameTooLong, what));
            }
            if exceeds(self.label_value_bytes_max, value.len()) {
                let sizes = (value.len(), self.label_value_bytes_max);
                let what = excess("label value length", sizes, LABEL_VALUE_BYTES_KEY);
                return Some((RefuseReason::LabelValueTooLong, what));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_names_limit_value_and_flag() {
        let limits = Limits {
            labels_max: 2,
            label_name_bytes_max: 8,
            label_value_bytes_max: 3,
            ..Limits::default()
        };
        let name = ("__name__", "m");
        let exceeded = |labels: &[(&str, &str)]| limits.exceeded_by(labels);
        assert_eq!(exceeded(&[name, ("a", "xyz")]), None);
        let cases: [(&[(&str, &str)], _, _); 3] = [
            (
                &[name, ("a", "1"), ("b", "2")],
                RefuseReason::TooManyLabels,
                "number of labels of 3 exceeds the limit of 2 (--ingest.max-labels-per-series)",
            ),
            (
                &[name, ("a23456789", "1")],
                RefuseReason::LabelNameTooLong,
                "label name length of 9 exceeds the limit of 8 (--ingest.max-label-name-length)",
            ),
            (
                &[name, ("a", "1234")],
                RefuseReason::LabelValueTooLong,
                "label value length of 4 exceeds the limit of 3 (--ingest.max-label-value-length)",
            ),
        ];
        for (labels, reason, text) in cases {
            assert_eq!(exceeded(labels), Some((reason, text.to_owned())));
        }
        let many = vec![("name", "a value that is long"); 1000];
        assert_eq!(Limits::default().exceeded_by(&many), None);
    }
}
