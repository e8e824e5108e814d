//! `eigenscope track`: curvature along fixed vectors at several checkpoints.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments, SubsetArguments};
use super::progress::Progress;
use clap::Args;
use eigenscope::device::Precision;
use eigenscope::experiment::{Landscape, NetworkLandscape, Observer};
use eigenscope::run::{Checkpoint, TensorFile, write_rows};
use eigenscope::{Error, Result, with_device};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example: the curvature along the eigenvectors of step 100, through the training
  eigenscope spectrum --checkpoint runs/quick/checkpoints/step-000100.safetensors --out pairs.safetensors
  eigenscope track --vectors pairs.safetensors --out curvature.csv \\
      runs/quick/checkpoints/*.safetensors runs/quick/snapshots/*.safetensors")]
pub struct Arguments {
    /// Checkpoints at which the curvature is taken
    #[arg(required = true, value_name = "CHECKPOINT")]
    checkpoints: Vec<PathBuf>,
    /// Vectors (k, d): a tensor `eigenvectors`, as `spectrum` writes it, or `vectors`
    #[arg(long, value_name = "FILE")]
    vectors: PathBuf,
    /// Only the first so many vectors from either end of the list
    #[arg(long, value_name = "K")]
    outermost: Option<usize>,
    /// Where the table goes (CSV)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    subset: SubsetArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Serialize)]
struct Row {
    /// Steps of the training.
    step: u64,
    /// Row of the vector in its file, from 0.
    vector: usize,
    loss: f64,
    slope: f64,
    curvature: f64,
    third: f64,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let data = arguments.data.load()?;
    let subset = arguments.subset.select(&data, 256)?;
    let (indices, vectors) = read_vectors(&arguments.vectors, arguments.outermost)?;
    let choice = arguments.device.open(Precision::F32)?;
    let memory = arguments.device.memory();
    let mut progress = Progress::new();
    progress.begin("tracking", arguments.checkpoints.len() as u64);
    let mut rows: Vec<Row> = Vec::new();
    for (i, path) in arguments.checkpoints.iter().enumerate() {
        let checkpoint = Checkpoint::read(path, data.shape)?;
        let dim = checkpoint.network.dim();
        if let Some(vector) = vectors.iter().find(|v| v.len() != dim) {
            let problem =
                format!("has vectors of {} components, {} has {dim} parameters", vector.len(), path.display());
            return Err(Error::file(&arguments.vectors, problem));
        }
        let directions: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let jets = with_device!(&choice.device, device => {
            NetworkLandscape::new(device, &checkpoint.network, &subset, memory)?
                .jets(&checkpoint.state.theta, &directions)?
        });
        rows.extend(indices.iter().zip(jets).map(|(&vector, jet)| Row {
            step: checkpoint.state.step,
            vector,
            loss: jet.loss,
            slope: jet.slope,
            curvature: jet.curvature,
            third: jet.third,
        }));
        progress.advance(i as u64 + 1, "");
    }
    rows.sort_by_key(|row| (row.vector, row.step));
    progress.end(&format!("{} vectors at {} checkpoints", vectors.len(), arguments.checkpoints.len()));
    if let Some(out) = &arguments.out {
        write_rows(out, &rows)?;
        log::info!("written to {}", out.display());
    }
    let mut text = String::from("vector    step       v'Hv       g'v  third derivative\n");
    for Row { step, vector, slope, curvature, third, .. } in &rows {
        let _ = writeln!(text, "{vector:>6}  {step:>6}  {curvature:>9.4}  {slope:>8.4}  {third:>16.4}");
    }
    printer.print(&json!({ "samples": subset.len(), "device": choice.description(), "rows": rows }), &text)
}

/// Vectors of a file, with their rows in it.
fn read_vectors(path: &std::path::Path, outermost: Option<usize>) -> Result<(Vec<usize>, Vec<Vec<f32>>)> {
    let file = TensorFile::read(path)?;
    let name = if file.tensors.contains_key("eigenvectors") { "eigenvectors" } else { "vectors" };
    let tensor = file.get(name)?;
    let [count, dim] = tensor.shape[..] else {
        return Err(Error::file(path, format!("{name} has shape {:?}, not (k, d)", tensor.shape)));
    };
    let numbers = tensor.data.to_f32();
    let wanted = |i: usize| outermost.is_none_or(|k| i < k || i + k >= count);
    Ok((0..count).filter(|&i| wanted(i)).map(|i| (i, numbers[i * dim..(i + 1) * dim].to_vec())).unzip())
}
