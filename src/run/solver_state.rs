//! A solve's state as a file, and its convergence log.

use super::{Tensor, TensorData, TensorFile};
use crate::device::Scalar;
use crate::eigen::{Phase, Progress, SolverState};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;

/// Stores `state`; `fingerprint` says what it belongs to.
///
/// # Errors
/// [`Error::File`] if it cannot be written.
pub fn write_state<T>(path: &Path, state: &SolverState<T>, fingerprint: &str) -> Result<()>
where
    T: Scalar,
    TensorData: From<Vec<T>>,
{
    let mut file = TensorFile::default();
    let mut vectors = |name: &str, values: &[T]| {
        file.insert(name, &[values.len() / state.dimension, state.dimension], values.to_vec());
    };
    vectors("basis", &state.basis);
    vectors("next", &state.next);
    for (name, values) in [
        ("projected", &state.projected),
        ("coupling", &state.coupling),
        ("noise", &state.noise),
        ("locked", &state.locked),
        ("bounds", &state.bounds),
        ("ritz_values", &state.ritz_values),
        ("scale", &vec![state.scale, state.norm, state.worst]),
    ] {
        file.insert(name, &[values.len()], values.clone());
    }
    file.note("fingerprint", fingerprint);
    file.note("random_position", state.random_position);
    file.note("phase", serde_json::to_string(&state.phase).expect("a word"));
    file.note("counters", serde_json::to_string(&state.counters).expect("numbers"));
    file.note("guard_steps", state.guard_steps);
    file.note("reached", state.reached);
    file.note("seconds", state.seconds);
    file.write(path)
}

/// Reads what [`write_state`] stored.
///
/// # Errors
/// [`Error::File`] if it is missing or broken; [`Error::Usage`] if it belongs to something else.
pub fn read_state<T: Scalar>(path: &Path, fingerprint: &str) -> Result<SolverState<T>> {
    let file = TensorFile::read(path)?;
    let found = file.metadata.get("fingerprint");
    let found = found.ok_or_else(|| Error::file(path, "is no saved solve: its metadata has no \"fingerprint\""))?;
    if found != fingerprint {
        return Err(Error::Usage(format!(
            "{} belongs to another solve ({found}), this one is {fingerprint}: use the same options, or another --state",
            path.display()
        )));
    }
    let wide = |name: &str| -> Result<Vec<f64>> { Ok(file.get(name)?.data.to_f64()) };
    // f32 to f64 and back is exact.
    let vectors = |Tensor { data, .. }: &Tensor| data.to_f64().into_iter().map(T::from_f64).collect();
    let next = file.get("next")?;
    let &[_, dimension] = &next.shape[..] else { return Err(Error::file(path, "its next block is broken")) };
    let scales = wide("scale")?;
    let [scale, norm, worst] = scales[..] else { return Err(Error::file(path, "its scale is broken")) };
    Ok(SolverState {
        dimension,
        basis: vectors(file.get("basis")?),
        next: vectors(next),
        projected: wide("projected")?,
        coupling: wide("coupling")?,
        noise: wide("noise")?,
        locked: wide("locked")?,
        // Older files have none.
        bounds: file.tensors.get("bounds").map_or_else(Vec::new, |bounds| bounds.data.to_f64()),
        ritz_values: wide("ritz_values")?,
        scale,
        norm,
        worst,
        random_position: file.read_note("random_position")?,
        phase: file.read_note("phase")?,
        guard_steps: file.read_note("guard_steps")?,
        reached: file.read_note("reached")?,
        counters: file.read_note("counters")?,
        seconds: file.read_note("seconds")?,
    })
}

/// A row of the convergence log: one a sweep over the basis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvergenceRow {
    /// Products so far.
    pub hvps: usize,
    /// `search`, `guard` or `hunt`.
    pub phase: Phase,
    /// Columns in the basis.
    pub basis: usize,
    /// Converged among the wanted largest.
    pub largest: usize,
    /// Converged among the wanted smallest.
    pub smallest: usize,
    /// Largest residual over its target among the wanted pairs.
    pub worst: f64,
    /// Largest Ritz value.
    pub top: f64,
    /// Smallest Ritz value.
    pub bottom: f64,
    /// Noise of the operator so far.
    pub noise: f64,
}

impl From<&Progress> for ConvergenceRow {
    fn from(p: &Progress) -> Self {
        Self {
            hvps: p.products,
            phase: p.phase,
            basis: p.basis,
            largest: p.largest,
            smallest: p.smallest,
            worst: p.worst,
            top: p.top,
            bottom: p.bottom,
            noise: p.noise,
        }
    }
}

/// The convergence log as it grows: a CSV file to which whole lines are added.
pub struct ConvergenceLog {
    writer: csv::Writer<File>,
}

impl ConvergenceLog {
    /// Starts the file; of an earlier one, rows of up to `hvps` products stay.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read or written.
    pub fn open(path: &Path, hvps: usize) -> Result<Self> {
        let mut rows: Vec<ConvergenceRow> = Vec::new();
        if hvps > 0 && path.exists() {
            let mut text =
                std::fs::read_to_string(path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
            // A killed process may have left half a line.
            text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
            let read: Result<_, csv::Error> = csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
            rows = read.map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
            rows.retain(|row| row.hvps <= hvps);
        }
        // The old rows as a whole file or not at all; new ones are added to it.
        super::write_rows(path, &rows)?;
        let file = File::options().append(true).open(path);
        let file = file.map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
        let writer = csv::WriterBuilder::new().has_headers(rows.is_empty()).from_writer(file);
        Ok(Self { writer })
    }

    /// Adds a row; a log that can no longer be written does not stop the solve.
    pub fn add(&mut self, row: &ConvergenceRow) {
        let written = self.writer.serialize(row).map_err(|e| e.to_string());
        if let Err(error) = written.and_then(|()| self.writer.flush().map_err(|e| e.to_string())) {
            log::warn!("the convergence log cannot be written: {error}");
        }
    }
}
