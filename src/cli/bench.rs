//! `eigenscope bench`: speed on this machine.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments, PrecisionArgument};
use clap::{Args, Subcommand};
use eigenscope::device::{Device, Scalar};
use eigenscope::network::{Init, Network};
use eigenscope::objective::Objective;
use eigenscope::{Error, Result, with_device};
use serde_json::json;
use std::time::Instant;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Hessian-vector products, gradients and losses a second
    Hvp(HvpArguments),
}

#[derive(Args)]
struct HvpArguments {
    /// Training samples
    #[arg(long, default_value_t = 256, value_name = "N")]
    samples: usize,
    /// Directions a block
    #[arg(long, default_value_t = 4, value_name = "K")]
    block: usize,
    /// Timed repeats, after one that is not; the median is reported
    #[arg(long, default_value_t = 5, value_name = "N")]
    repeats: usize,
    /// lenet, or layers such as "conv 5x5 32, conv 5x5 64, dense 1024, dense 10"
    #[arg(long, default_value = "lenet", value_name = "LAYERS")]
    network: String,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Floating-point type; f64 on the CPU only
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArgument,
}

/// Median seconds of a call.
struct Times {
    loss: f64,
    gradient: f64,
    hvp: f64,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let What::Hvp(arguments) = arguments.what;
    if arguments.repeats == 0 {
        return Err(Error::Usage("--repeats must be at least 1".into()));
    }
    let data = arguments.data.load()?;
    let samples = data.train.first(arguments.samples)?;
    let network = Network::parse(&arguments.network, data.shape, data.classes)?;
    let choice = arguments.device.open(arguments.precision.into())?;
    let times = with_device!(&choice.device, device => time(device, &network, &samples, &arguments)?);
    let count = arguments.samples as f64;
    let directions = count * arguments.block as f64;
    let gflop = network.hvp_flop() * directions / times.hvp * 1e-9;
    printer.print(
        &json!({
            "device": choice.description(),
            "samples": arguments.samples,
            "block": arguments.block,
            "repeats": arguments.repeats,
            "seconds": times.hvp,
            "hvp_per_s": directions / times.hvp,
            "gflop_per_s": gflop,
            "grad_per_s": count / times.gradient,
            "loss_per_s": count / times.loss,
        }),
        &format!(
            "{}\n{} samples, block {}: {:.0} Hessian-vector products a second (samples times directions), \
             {gflop:.1} GFLOP/s counted dense\n{:.0} gradients and {:.0} losses a second (samples)",
            choice.description(),
            arguments.samples,
            arguments.block,
            directions / times.hvp,
            count / times.gradient,
            count / times.loss
        ),
    );
    Ok(())
}

fn time<D: Device>(
    device: &D,
    network: &Network,
    samples: &eigenscope::data::Samples,
    arguments: &HvpArguments,
) -> Result<Times> {
    let dim = network.dim();
    let mut objective = Objective::new(device, network, samples, eigenscope::objective::DEFAULT_CHUNK)?;
    let mut theta = device.zeros(dim)?;
    let host: Vec<D::Scalar> = Init::Glorot.parameters(network, 0).into_iter().map(D::Scalar::from_f32).collect();
    device.write(&mut theta, 0, &host);
    let mut gradient = device.zeros(dim)?;
    let loss = median(arguments.repeats, || objective.evaluate(&theta).map(|_| ()))?;
    let gradient = median(arguments.repeats, || objective.gradient(&theta, &mut gradient).map(|_| ()))?;
    let memory = arguments.device.memory().unwrap_or_else(|| device.default_memory());
    let mut hessian = objective.linearize(&theta, memory)?;
    if arguments.block == 0 || arguments.block > hessian.max_directions() {
        return Err(Error::Usage(format!("--block must be from 1 to {}", hessian.max_directions())));
    }
    let mut vectors = device.zeros(arguments.block * dim)?;
    for k in 0..arguments.block {
        let direction: Vec<D::Scalar> =
            Init::Glorot.parameters(network, 1 + k as u64).into_iter().map(D::Scalar::from_f32).collect();
        device.write(&mut vectors, k * dim, &direction);
    }
    let mut products = device.zeros(arguments.block * dim)?;
    let hvp = median(arguments.repeats, || {
        hessian.hvp(arguments.block, &vectors, &mut products)?;
        // Kernels are enqueued: one scalar read back waits for them.
        device.read(&products, 0..1).map(|_| ())
    })?;
    Ok(Times { loss, gradient, hvp })
}

fn median(repeats: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        call()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[repeats / 2])
}
