//! What is wrong with an object, or worth knowing about it, by the path of a field.

use std::fmt;

/// A field that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Such as `spec.endpoints[2].interval`.
    pub path: String,
    /// What is wrong, with the value where it is no secret.
    pub message: String,
}

impl Problem {
    /// Something is wrong with the field at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// A field that is stored and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// As of [`Problem`].
    pub path: String,
    /// Why.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
