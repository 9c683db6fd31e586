//! Why a figure is missing.

use std::{error::Error, io, time::Duration};

/// Why a figure is missing. The caller leaves it out and says this under the table.
#[derive(Debug, thiserror::Error)]
pub enum Unmeasured {
    /// This machine refuses something: a folder, a file, a port, a program.
    #[error("{step}")]
    Machine {
        /// What was being done.
        step: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A server does not answer.
    #[error("call {url}")]
    Call {
        /// What was asked.
        url: String,
        /// Why there is no answer.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A server says no.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Why, in the server's words.
        body: String,
    },
    /// An answer, or a process, has not what was looked for.
    #[error("{0}")]
    Absent(String),
    /// It took too long.
    #[error("{what}: not within {deadline:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        deadline: Duration,
        /// What was seen last.
        #[source]
        seen: Box<Unmeasured>,
    },
}

impl Unmeasured {
    /// For `map_err` on what the machine refuses.
    pub fn at(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        |source| Self::Machine { step, source }
    }

    /// The whole chain in one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}
