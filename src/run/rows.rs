//! CSV tables with a header.

use super::write_atomic;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Writes a CSV table with a header; an empty file for no rows.
///
/// # Errors
/// [`Error::File`] if it cannot be written.
pub fn write_rows<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    let broken = |e: &dyn std::fmt::Display| Error::file(path, format!("cannot be written: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| broken(&e))?;
    }
    write_atomic(path, &writer.into_inner().map_err(|e| broken(&e))?)
}

/// Reads a CSV table with a header.
///
/// # Errors
/// [`Error::File`] if it is missing or broken.
pub fn read_rows<R: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<R>> {
    let broken = |e: csv::Error| Error::file(path, format!("cannot be read: {e}"));
    let mut reader = csv::Reader::from_path(path).map_err(broken)?;
    reader.deserialize().collect::<Result<_, _>>().map_err(broken)
}
