//! `eigenscope linesearch`: the loss along the eigenvectors of a spectrum.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments, SubsetArguments};
use clap::Args;
use eigenscope::device::Precision;
use eigenscope::experiment::{
    Configuration, LineRow, LineScale, LinesConfiguration, NetworkLandscape, StoredSpectrum, search_lines,
};
use eigenscope::run::{Checkpoint, write_rows};
use eigenscope::{Error, Result, with_device};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:
  eigenscope spectrum --checkpoint step-000100.safetensors --out pairs.safetensors
  eigenscope linesearch --checkpoint step-000100.safetensors --spectrum pairs.safetensors --out lines.csv

The subset of samples should be the one that the spectrum was computed on.")]
pub struct Arguments {
    /// Checkpoint with the parameters
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Its eigenpairs, as `spectrum --out` writes them
    #[arg(long, value_name = "FILE")]
    spectrum: PathBuf,
    /// Where the table goes (CSV)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What alpha is measured in, in the quadratic fits: gradient (the step is -alpha (g'v) v) or unit (-alpha v)
    #[arg(long, default_value = "gradient", value_name = "SCALE", value_parser = ["gradient", "unit"])]
    scale: String,
    /// Longest step of the search, as a distance in parameter space
    #[arg(long, default_value_t = 10.0, value_name = "DISTANCE")]
    reach: f64,
    /// Points of the search's grid per factor of ten
    #[arg(long, default_value_t = 4, value_name = "N")]
    per_decade: usize,
    /// Most evaluations that narrow a minimum down
    #[arg(long, default_value_t = 12, value_name = "N")]
    refinements: usize,
    #[command(flatten)]
    subset: SubsetArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

impl Arguments {
    fn settings(&self) -> Result<LinesConfiguration> {
        let settings = [
            format!("lines.reach={}", self.reach),
            format!("lines.per_decade={}", self.per_decade),
            format!("lines.refinements={}", self.refinements),
        ];
        let lines = Configuration::preset("quick", None, &settings)?.lines;
        let scale = if self.scale == "unit" { LineScale::Unit } else { LineScale::Gradient };
        let settings = LinesConfiguration { scale, ..lines };
        settings.check()?;
        Ok(settings)
    }
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let data = arguments.data.load()?;
    let subset = arguments.subset.select(&data, 256)?;
    let checkpoint = Checkpoint::read(&arguments.checkpoint, data.shape)?;
    let settings = arguments.settings()?;
    let spectrum = StoredSpectrum::read(&arguments.spectrum)?;
    let dim = checkpoint.network.dim();
    if let Some(pair) = spectrum.pairs.iter().find(|p| p.vector.len() != dim) {
        let problem =
            format!("has eigenvectors of {} components, the checkpoint has {dim} parameters", pair.vector.len());
        return Err(Error::file(&arguments.spectrum, problem));
    }
    let choice = arguments.device.open(Precision::F32)?;
    let (step, theta) = (checkpoint.state.step, &checkpoint.state.theta);
    let rows: Vec<LineRow> = with_device!(&choice.device, device => {
        let mut landscape =
            NetworkLandscape::new(device, &checkpoint.network, &subset, arguments.device.memory())?;
        search_lines(&mut landscape, &settings, step, theta, &spectrum.pairs)?
    });
    if let Some(out) = &arguments.out {
        write_rows(out, &rows)?;
        log::info!("written to {}", out.display());
    }
    let mut text = String::from("    eigenvalue  fit, small  fit, large      alpha*   1/alpha*        gain\n");
    for r in &rows {
        let optional = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.4}"));
        let note = match (r.resolved, r.boundary) {
            (false, _) => "  in the noise",
            (true, true) => "  at the boundary",
            (true, false) => "",
        };
        let _ = writeln!(
            text,
            "{:>14.6}  {:>10}  {:>10}  {:>10}  {:>9}  {:>10.3e}{note}",
            r.eigenvalue,
            optional(r.fit_small),
            optional(r.fit_large),
            optional(r.alpha),
            optional(r.alpha.map(f64::recip)),
            r.gain
        );
    }
    let _ = write!(text, "noise of a loss difference: {:.1e}", rows.iter().map(|r| r.noise).fold(0.0, f64::max));
    printer
        .print(&json!({ "step": step, "samples": subset.len(), "device": choice.description(), "lines": rows }), &text)
}
