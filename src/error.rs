//! The one error type: every variant prints as one line that says what is wrong, where, and what to do.

use std::fmt::Display;
use std::path::PathBuf;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or a setting is wrong (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A file is missing, broken, or could not be written.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or directory at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No device of the wanted kind, or the device refused or was lost.
    #[error("{0}")]
    Device(String),
    /// The numbers went wrong: a non-finite loss, an operator that is not symmetric.
    #[error("{0}")]
    Numerical(String),
}

impl Error {
    /// An error about the file at `path`.
    pub fn file(path: impl Into<PathBuf>, problem: impl Display) -> Self {
        Self::File { path: path.into(), problem: problem.to_string() }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
