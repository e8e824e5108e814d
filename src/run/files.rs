//! Whole files or none.

use crate::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Writes `bytes` under a temporary name beside `path` and renames it into place, making the folder if need be.
///
/// # Errors
/// [`Error::File`] with the path and the system's word.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(folder)?;
        file.write_all(bytes)?;
        // Results are to be shared: the usual permissions instead of a temporary file's 0600.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| Error::file(path, format!("cannot be written: {e}")))
}
