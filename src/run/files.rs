//! Whole files or none.

use crate::{Error, Result};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How often a state is saved: `usual`, or the seconds in the environment variable EIGENSCOPE_SAVE_SECONDS, so that tests can
/// interrupt what takes no time.
pub(crate) fn save_interval(usual: Duration) -> Duration {
    let seconds = std::env::var("EIGENSCOPE_SAVE_SECONDS").ok().and_then(|s| s.parse().ok());
    seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(usual)
}

/// Whether a name is one of [`write_atomic`]'s temporary ones.
fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with('.') && n.ends_with(".tmp"))
}

/// Removes what a killed process has left half-written in `folder` and the folders in it; returns whether anything else
/// is there.
pub(super) fn sweep(folder: &Path) -> bool {
    let mut occupied = false;
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if is_temporary(&path) {
            // What cannot be removed only takes room.
            let _ = std::fs::remove_file(&path);
        } else {
            occupied = true;
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|p| is_temporary(p)).for_each(|p| drop(std::fs::remove_file(p)));
        }
    }
    occupied
}

/// Writes `bytes` under a temporary name beside `path` and renames it into place, making the folder if need be.
///
/// # Errors
/// [`Error::File`] with the path and the system's word, or if what is there is no file. A link stays, and what it leads to is written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.into());
    if path.exists() && !path.is_file() {
        return Err(Error::file(path, "is no file: choose another name"));
    }
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
