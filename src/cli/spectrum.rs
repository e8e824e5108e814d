//! `eigenscope spectrum`: the extreme eigenpairs at a checkpoint.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments, PrecisionArgument, SubsetArguments};
use super::progress::Progress;
use clap::Args;
use eigenscope::eigen::{Options, Status};
use eigenscope::experiment::{Observer, compute_spectrum};
use eigenscope::run::Checkpoint;
use eigenscope::{Result, with_device};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Args)]
pub struct Arguments {
    /// Checkpoint with the parameters
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Number of largest eigenvalues, LA(k)
    #[arg(long, default_value_t = 10, value_name = "K")]
    largest: usize,
    /// Number of most negative eigenvalues, SA(k)
    #[arg(long, default_value_t = 3, value_name = "K")]
    smallest: usize,
    /// Converged when the residual is at most TOL times the eigenvalue (or times 0.001 of the largest, near zero)
    #[arg(long, default_value_t = 1e-3, value_name = "TOL")]
    tolerance: f64,
    /// Vectors a block
    #[arg(long, default_value_t = 2, value_name = "B")]
    block: usize,
    /// Most vectors in the basis (4 d bytes each)
    #[arg(long, default_value_t = 64, value_name = "M")]
    basis: usize,
    /// Most Hessian-vector products; what is there then is returned, marked as what it is
    #[arg(long, default_value_t = 5000, value_name = "N")]
    max_hvps: usize,
    /// Seed of the start vectors
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where eigenvalues, residuals, gradient and eigenvectors go (safetensors)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    subset: SubsetArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Floating-point type; f64 on the CPU only
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArgument,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let data = arguments.data.load()?;
    let subset = arguments.subset.select(&data, 256)?;
    let checkpoint = Checkpoint::read(&arguments.checkpoint, data.shape)?;
    let choice = arguments.device.open(arguments.precision.into())?;
    let options = Options {
        largest: arguments.largest,
        smallest: arguments.smallest,
        tolerance: arguments.tolerance,
        block: arguments.block,
        basis: arguments.basis,
        max_products: arguments.max_hvps,
        seed: arguments.seed,
    };
    let (network, theta) = (&checkpoint.network, &checkpoint.state.theta);
    let mut progress = Progress::new();
    let total = (options.largest + options.smallest) as u64;
    progress.begin("spectrum", total);
    let (json, text, file) = with_device!(&choice.device, device => {
        let memory = arguments.device.memory();
        let spectrum = compute_spectrum(device, network, theta, &subset, &options, memory, |p| {
            progress.advance(
                (p.largest + p.smallest) as u64,
                &format!(
                    "pairs, {} HVPs, LA {}/{}, SA {}/{}, worst residual {:.1e} of its tolerance",
                    p.products, p.largest, options.largest, p.smallest, options.smallest, p.worst
                ),
            );
        })?;
        let solution = &spectrum.solution;
        progress.end(&format!("{} of {total} pairs converged", solution.converged()));
        let mut text = format!(
            "step {}, loss {:.6} on {} samples, {} HVPs in {:.1} s\n",
            checkpoint.state.step,
            spectrum.evaluation.loss,
            subset.len(),
            solution.products + solution.verification_products,
            spectrum.seconds
        );
        for pair in solution.descending() {
            let status = match pair.status {
                Status::Converged => "",
                Status::NoiseFloor => "  at the noise floor",
                Status::BudgetSpent => "  not converged",
            };
            let _ = writeln!(text, "{:>14.6}  residual {:.1e}{status}", pair.value, pair.residual);
        }
        let pairs: Vec<_> = solution
            .descending()
            .map(|p| json!({ "value": p.value, "residual": p.residual, "status": p.status }))
            .collect();
        let json = json!({
            "step": checkpoint.state.step,
            "samples": subset.len(),
            "loss": spectrum.evaluation.loss,
            "accuracy": spectrum.evaluation.accuracy,
            "largest": solution.largest.len(),
            "smallest": solution.smallest.len(),
            "hvps": solution.products,
            "verification_hvps": solution.verification_products,
            "restarts": solution.restarts,
            "noise": solution.noise,
            "seconds": spectrum.seconds,
            "device": choice.description(),
            "pairs": pairs,
        });
        let mut file = spectrum.to_file(true);
        file.note("step", checkpoint.state.step);
        (json, text, file)
    });
    if let Some(out) = &arguments.out {
        file.write(out)?;
        log::info!("written to {}", out.display());
    }
    printer.print(&json, &text);
    Ok(())
}
