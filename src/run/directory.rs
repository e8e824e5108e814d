//! The folders of a run and the names in them.

use super::files::sweep;
use super::{Checkpoint, read_rows, write_atomic, write_rows};
use crate::data::ImageShape;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run's directory.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    root: PathBuf,
    /// Held as long as somebody works on the run.
    _lock: Option<Arc<File>>,
}

impl RunDirectory {
    /// Starts a run in `root`, or with `resume` continues the one that is there; returns it with its record.
    ///
    /// `record` becomes `run.toml`; a resumed run must have the same `configuration` and data in it, and keeps its own.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is a run already and `resume` is not set, it was another configuration, or another process is
    /// at work on it.
    pub fn open(root: &Path, record: &toml::Table, resume: bool) -> Result<(Self, toml::Table)> {
        let mut run = Self { root: root.to_path_buf(), _lock: None };
        let manifest = run.manifest();
        if manifest.exists() {
            if !resume {
                let root = root.display();
                return Err(Error::Usage(format!(
                    "{root} already holds a run: continue it with --resume, or choose another --out"
                )));
            }
            let old = read_record(&manifest)?;
            if let Some(difference) = difference(&old, record) {
                return Err(Error::Usage(format!(
                    "{} was made with other settings ({difference}): resume with the same, or choose another --out",
                    root.display()
                )));
            }
            let device = |record: &toml::Table| Some(record.get("made_by")?.get("device")?.to_string());
            if let (Some(before), Some(now)) = (device(&old), device(record))
                && before != now
            {
                log::warn!("this run was begun on {before} and goes on on {now}: the last bits will differ");
            }
            run._lock = lock(root)?;
            sweep(root);
            return Ok((run, old));
        }
        if sweep(root) {
            return Err(Error::Usage(format!(
                "{} is not empty and holds no run: choose another --out",
                root.display()
            )));
        }
        let text = toml::to_string_pretty(record).map_err(|e| Error::file(&manifest, e))?;
        write_atomic(&manifest, text.as_bytes())?;
        run._lock = lock(root)?;
        Ok((run, record.clone()))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `run.toml`.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("run.toml")
    }

    /// `metrics.csv`.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.csv")
    }

    /// `checkpoints/step-000050.safetensors`.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.root.join(format!("checkpoints/step-{step:06}.safetensors"))
    }

    /// `spectra/step-000050.safetensors`.
    pub fn spectrum(&self, step: u64) -> PathBuf {
        self.root.join(format!("spectra/step-{step:06}.safetensors"))
    }

    /// `spectra/step-000050.csv`: the convergence log of that spectrum.
    pub fn convergence_log(&self, step: u64) -> PathBuf {
        self.root.join(format!("spectra/step-{step:06}.csv"))
    }

    /// `spectra/samples-000256.safetensors`: the spectrum of a subset of that size.
    pub fn subset_spectrum(&self, samples: usize) -> PathBuf {
        self.root.join(format!("spectra/samples-{samples:06}.safetensors"))
    }

    /// `snapshots/step-000050.safetensors`: parameters without the optimiser's state.
    pub fn snapshot(&self, step: u64) -> PathBuf {
        self.root.join(format!("snapshots/step-{step:06}.safetensors"))
    }

    /// `unfinished/NAME.safetensors`: the state of what is under way.
    pub fn unfinished(&self, name: &str) -> PathBuf {
        self.root.join(format!("unfinished/{name}.safetensors"))
    }

    /// Removes what [`RunDirectory::unfinished`] names, now that it is finished.
    pub fn finished(&self, name: &str) {
        // What cannot be removed only takes room.
        let _ = std::fs::remove_file(self.unfinished(name));
        let _ = std::fs::remove_dir(self.root.join("unfinished"));
    }

    /// `clock/NAME.csv`: a table of wall-clock seconds.
    pub fn clock(&self, name: &str) -> PathBuf {
        self.root.join(format!("clock/{name}.csv"))
    }

    /// `report.html`.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// `tables/NAME.csv`.
    pub fn table(&self, name: &str) -> PathBuf {
        self.root.join(format!("tables/{name}.csv"))
    }

    /// The parameters (dim) at a step of which a checkpoint or a snapshot was kept.
    ///
    /// # Errors
    /// [`Error::File`] if there is neither, or it is broken.
    pub fn theta(&self, step: u64, input: ImageShape) -> Result<Vec<f32>> {
        let snapshot = self.snapshot(step);
        let path = if snapshot.exists() { snapshot } else { self.checkpoint(step) };
        Ok(Checkpoint::read(&path, input)?.state.theta)
    }

    /// The latest checkpoint at or before `step`, if there is one; an unfinished training's state is one too.
    ///
    /// # Errors
    /// [`Error::File`] if it is broken.
    pub fn latest_checkpoint(&self, step: u64, input: ImageShape) -> Result<Option<Checkpoint>> {
        let kept = self.latest_kept_checkpoint(step, input)?;
        let path = self.unfinished("training");
        if !path.exists() {
            return Ok(kept);
        }
        let unfinished = Checkpoint::read(&path, input)?;
        let later = unfinished.state.step <= step && kept.as_ref().is_none_or(|k| k.state.step < unfinished.state.step);
        Ok(if later { Some(unfinished) } else { kept })
    }

    /// Steps whose checkpoints are kept, in any order.
    pub fn kept_steps(&self) -> impl Iterator<Item = u64> {
        let number = |entry: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
        };
        std::fs::read_dir(self.root.join("checkpoints")).into_iter().flatten().filter_map(number)
    }

    fn latest_kept_checkpoint(&self, step: u64, input: ImageShape) -> Result<Option<Checkpoint>> {
        let latest = self.kept_steps().filter(|&s| s <= step).max();
        latest.map(|s| Checkpoint::read(&self.checkpoint(s), input)).transpose()
    }

    /// Writes `tables/NAME.csv` from rows.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn write_table<R: Serialize>(&self, name: &str, rows: &[R]) -> Result<()> {
        write_rows(&self.table(name), rows)
    }

    /// Reads `tables/NAME.csv`.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or broken.
    pub fn read_table<R: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Vec<R>> {
        read_rows(&self.table(name))
    }

    /// Reads `tables/NAME.csv`; no rows if it is not there yet.
    ///
    /// # Errors
    /// [`Error::File`] if it is broken.
    pub fn read_table_so_far<R: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Vec<R>> {
        read_rows_so_far(&self.table(name))
    }

    /// Reads `clock/NAME.csv`; no rows if it is not there yet.
    ///
    /// # Errors
    /// [`Error::File`] if it is broken.
    pub fn read_clock_so_far<R: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Vec<R>> {
        read_rows_so_far(&self.clock(name))
    }

    /// Opens the run that is in `root`, and its record.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, or its record is broken.
    pub fn existing(root: &Path) -> Result<(Self, toml::Table)> {
        let run = Self { root: root.to_path_buf(), _lock: None };
        let record = read_record(&run.manifest())?;
        Ok((run, record))
    }

    /// Writes `figures/NAME.svg` and `figures/NAME.png`.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be written.
    pub fn write_figure(&self, name: &str, svg: &str, png: &[u8]) -> Result<()> {
        write_atomic(&self.figure(name, "svg"), svg.as_bytes())?;
        write_atomic(&self.figure(name, "png"), png)
    }

    /// `figures/NAME.EXTENSION`.
    pub fn figure(&self, name: &str, extension: &str) -> PathBuf {
        self.root.join(format!("figures/{name}.{extension}"))
    }
}

/// Locks a directory until the file is dropped or the process ends; without effect where the system cannot.
fn lock(root: &Path) -> Result<Option<Arc<File>>> {
    let Ok(folder) = File::open(root) else { return Ok(None) };
    match folder.try_lock() {
        Ok(()) => Ok(Some(Arc::new(folder))),
        Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
            "another process is at work in {}: let it finish, or choose another --out",
            root.display()
        ))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn read_rows_so_far<R: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<R>> {
    if path.exists() { read_rows(path) } else { Ok(Vec::new()) }
}

fn read_record(manifest: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(manifest)
        .map_err(|e| Error::file(manifest, format!("cannot be read: {e}; is this a run directory?")))?;
    text.parse().map_err(|e: toml::de::Error| Error::file(manifest, e.message().to_string()))
}

/// The first setting under `[configuration]` that differs, or the data, as text.
fn difference(old: &toml::Table, new: &toml::Table) -> Option<String> {
    fn flatten(prefix: &str, value: &toml::Value, into: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    flatten(&format!("{prefix}{}{key}", if prefix.is_empty() { "" } else { "." }), value, into);
                }
            }
            other => into.push((prefix.to_string(), other.to_string())),
        }
    }
    let settings = |table: &toml::Table| {
        let mut list = Vec::new();
        if let Some(value) = table.get("configuration") {
            flatten("", value, &mut list);
        }
        if let Some(digest) = table.get("made_by").and_then(|m| m.get("data_sha256")) {
            list.push(("the data's SHA-256".into(), digest.to_string()));
        }
        list
    };
    let (old, new) = (settings(old), settings(new));
    let missing = |key: &str, list: &[(String, String)]| list.iter().all(|(k, _)| k != key);
    for (key, value) in &new {
        match old.iter().find(|(k, _)| k == key) {
            Some((_, before)) if before == value => {}
            Some((_, before)) => return Some(format!("{key} was {before}, is {value}")),
            None => return Some(format!("{key} was not set, is {value}")),
        }
    }
    old.iter().find(|(k, _)| missing(k, &new)).map(|(k, v)| format!("{k} was {v}, is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(steps: u32) -> toml::Table {
        format!("[configuration.training]\nsteps = {steps}\n[device]\nname = \"x\"").parse().unwrap()
    }

    #[test]
    fn a_run_is_neither_overwritten_nor_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        RunDirectory::open(&root, &record(5), false).unwrap();
        let message = |steps, resume| RunDirectory::open(&root, &record(steps), resume).unwrap_err().to_string();
        assert!(message(5, false).contains("--resume"));
        assert!(message(6, true).contains("training.steps was 5, is 6"));
        assert!(RunDirectory::open(&root, &record(5), true).is_ok());
        let mut other_data = record(5);
        other_data.insert("made_by".into(), toml::toml! { data_sha256 = "another" }.into());
        let error = RunDirectory::open(&root, &other_data, true).unwrap_err().to_string();
        assert!(error.contains("the data's SHA-256"), "{error}");
        #[cfg(unix)]
        {
            let (at_work, _) = RunDirectory::open(&root, &record(5), true).unwrap();
            assert!(message(5, true).contains("another process is at work in"));
            drop(at_work);
        }
        // What a killed process left is swept away, and keeps no one out.
        std::fs::create_dir(root.join("spectra")).unwrap();
        let left = [root.join(".abc.tmp"), root.join("spectra/.def.tmp")];
        left.iter().for_each(|path| std::fs::write(path, "half").unwrap());
        RunDirectory::open(&root, &record(5), true).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        let killed = folder.path().join("killed");
        std::fs::create_dir(&killed).unwrap();
        std::fs::write(killed.join(".ghi.tmp"), "half").unwrap();
        RunDirectory::open(&killed, &record(5), false).unwrap();
        let other = folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("thesis.tex"), "precious").unwrap();
        assert!(RunDirectory::open(&other, &record(5), false).unwrap_err().to_string().contains("not empty"));
    }
}
