//! `eigenscope bench`: speed on this machine.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments, PrecisionArgument};
use clap::{Args, Subcommand};
use eigenscope::data::Samples;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::gpu::{Ceilings, GpuDevice, Timing};
use eigenscope::device::{AnyDevice, Device, Scalar};
use eigenscope::eigen::SymmetricOperator;
use eigenscope::network::{Init, Network};
use eigenscope::objective::{DEFAULT_CHUNK, Linearization, Objective};
use eigenscope::{Error, Result, with_device};
use serde_json::json;
use std::fmt::Write as _;
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
    /// Roofline of a Hessian-vector product on a GPU: what each kernel reaches of the adapter's own ceilings
    ///
    /// Two kernels that do nothing else measure how fast the adapter multiplies and adds in registers and how fast it
    /// copies memory. Then every kernel of a product is timed alone, and its share is that of the ceiling that binds it:
    /// the floating-point operations it executes and the bytes of its operands, each counted once.
    Kernels(KernelsArguments),
}

#[derive(Args)]
struct KernelsArguments {
    #[command(flatten)]
    problem: HvpArguments,
    /// First compare the products with those of the CPU in double precision
    #[arg(long)]
    check: bool,
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
    /// As the eigensolver takes them, if the Hessian is compressed.
    compressed: Option<f64>,
    /// Once: what products at one point share.
    preparation: f64,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    match arguments.what {
        What::Hvp(arguments) => hvp(&arguments, printer),
        What::Kernels(arguments) => kernels(&arguments, printer),
    }
}

/// The network, the subset and the device that the arguments name.
fn open(arguments: &HvpArguments) -> Result<(Network, Samples, eigenscope::device::Choice)> {
    if arguments.repeats == 0 {
        return Err(Error::Usage("--repeats must be at least 1".into()));
    }
    let data = arguments.data.load()?;
    let samples = data.train.first(arguments.samples)?;
    let network = Network::parse(&arguments.network, data.shape, data.classes)?;
    Ok((network, samples, arguments.device.open(arguments.precision.into())?))
}

fn hvp(arguments: &HvpArguments, printer: &Printer) -> Result<()> {
    let (network, samples, choice) = open(arguments)?;
    let times = with_device!(&choice.device, device => time(device, &network, &samples, arguments)?);
    let count = arguments.samples as f64;
    let directions = count * arguments.block as f64;
    let gflop = network.hvp_flop() * directions / times.hvp * 1e-9;
    let compressed = times.compressed.map(|seconds| directions / seconds);
    printer.print(
        &json!({
            "device": choice.description(),
            "samples": arguments.samples,
            "block": arguments.block,
            "repeats": arguments.repeats,
            "seconds": times.hvp,
            "hvp_per_s": directions / times.hvp,
            "gflop_per_s": gflop,
            "compressed_hvp_per_s": compressed,
            "preparation_seconds": times.preparation,
            "grad_per_s": count / times.gradient,
            "loss_per_s": count / times.loss,
        }),
        &format!(
            "{}\n{} samples, block {}: {:.0} Hessian-vector products a second (samples times directions), \
             {gflop:.1} GFLOP/s counted dense, after {:.2} s of preparation\n{}{:.0} gradients and {:.0} losses a second \
             (samples)",
            choice.description(),
            arguments.samples,
            arguments.block,
            directions / times.hvp,
            times.preparation,
            compressed.map_or(String::new(), |rate| format!("{rate:.0} in the coordinates of a spectrum's vectors\n")),
            count / times.gradient,
            count / times.loss
        ),
    )
}

fn time<D: Device>(device: &D, network: &Network, samples: &Samples, arguments: &HvpArguments) -> Result<Times> {
    let mut objective = Objective::new(device, network, samples, DEFAULT_CHUNK)?;
    let theta = parameters(device, network, 0, 1)?;
    let mut gradient = device.zeros(network.dim())?;
    let loss = median(arguments.repeats, || objective.evaluate(&theta).map(|_| ()))?;
    let gradient = median(arguments.repeats, || objective.gradient(&theta, &mut gradient).map(|_| ()))?;
    let start = Instant::now();
    let mut product = Product::new(&objective, arguments)?;
    device.read(product.hessian.gradient(), 0..1)?;
    let preparation = start.elapsed().as_secs_f64();
    let hvp = median(arguments.repeats, || product.run())?;
    let Product { mut hessian, block, .. } = product;
    let compressed = match hessian.compression(0)? {
        Some(mut compression) => {
            let len = block * compression.dimension();
            let (mut vectors, mut products) = (device.zeros(len)?, device.zeros(len)?);
            let some: Vec<D::Scalar> = (0..len).map(|i| D::Scalar::from_f64((i % 1009) as f64 / 504.5 - 1.0)).collect();
            device.write(&mut vectors, 0, &some);
            let apply = || {
                compression.apply(block, &vectors, &mut products)?;
                device.read(&products, 0..1).map(|_| ())
            };
            Some(median(arguments.repeats, apply)?)
        }
        None => None,
    };
    Ok(Times { loss, gradient, hvp, compressed, preparation })
}

/// `count` parameter vectors from this seed on.
fn parameters<D: Device>(device: &D, network: &Network, seed: u64, count: usize) -> Result<D::Buffer> {
    let dim = network.dim();
    let mut buffer = device.zeros(count * dim)?;
    for k in 0..count {
        let vector = Init::Glorot.parameters(network, seed + k as u64);
        device.write(&mut buffer, k * dim, &vector.into_iter().map(D::Scalar::from_f32).collect::<Vec<_>>());
    }
    Ok(buffer)
}

/// A Hessian and a block of directions, ready to be multiplied.
struct Product<'a, D: Device> {
    hessian: Linearization<'a, D>,
    block: usize,
    vectors: D::Buffer,
    products: D::Buffer,
}

impl<'a, D: Device> Product<'a, D> {
    fn new(objective: &'a Objective<'a, D>, arguments: &HvpArguments) -> Result<Self> {
        let (device, network, block) = (objective.device(), objective.network(), arguments.block);
        let memory = arguments.device.memory().unwrap_or_else(|| device.default_memory());
        let mut hessian = objective.linearize(&parameters(device, network, 0, 1)?, memory)?;
        // As for a spectrum.
        hessian.prepare(usize::MAX)?;
        if block == 0 || block > hessian.max_directions() {
            return Err(Error::Usage(format!("--block must be from 1 to {}", hessian.max_directions())));
        }
        let vectors = parameters(device, network, 1, block)?;
        let products = device.zeros(block * network.dim())?;
        Ok(Self { hessian, block, vectors, products })
    }

    /// Computes the products and waits for them.
    fn run(&mut self) -> Result<()> {
        self.enqueue()?;
        // Kernels are enqueued: one scalar read back waits for them.
        self.hessian.device().read(&self.products, 0..1).map(|_| ())
    }

    fn enqueue(&mut self) -> Result<()> {
        self.hessian.hvp(self.block, &self.vectors, &mut self.products)
    }
}

/// A kernel on one layer, in one product.
struct Line {
    kernel: &'static str,
    layer: (usize, usize),
    calls: usize,
    flop: f64,
    bytes: f64,
    /// Median over the repeats.
    seconds: f64,
}

impl Line {
    /// The share of the ceiling that binds, and its name.
    fn share(&self, ceilings: &Ceilings) -> (f64, &'static str) {
        let (arithmetic, memory) = (self.flop / ceilings.flop_per_s, self.bytes / ceilings.bytes_per_s);
        let bound = if arithmetic >= memory { "arithmetic" } else { "memory" };
        (arithmetic.max(memory) / self.seconds, bound)
    }
}

fn kernels(arguments: &KernelsArguments, printer: &Printer) -> Result<()> {
    let (network, samples, choice) = open(&arguments.problem)?;
    let AnyDevice::Gpu(gpu) = &choice.device else {
        return Err(Error::Usage("bench kernels is for GPUs; add --device gpu (or gpu:SUBSTRING of its name)".into()));
    };
    if arguments.check {
        check(gpu, &network, &samples, &arguments.problem)?;
    }
    let objective = Objective::new(&**gpu, &network, &samples, DEFAULT_CHUNK)?;
    let mut product = Product::new(&objective, &arguments.problem)?;
    let ceilings = gpu.ceilings()?;
    // The first product also compiles the kernels.
    product.run()?;
    let before = gpu.host_seconds();
    let mut calls = 0;
    let seconds = median(arguments.problem.repeats, || {
        calls += 1;
        product.run()
    })?;
    let after = gpu.host_seconds();
    let host = [0, 1].map(|which| (after[which] - before[which]) / f64::from(calls));
    let runs: Vec<_> =
        (0..arguments.problem.repeats).map(|_| gpu.profile(|| product.enqueue())).collect::<Result<_>>()?;
    let lines = lines(&runs);
    print(&choice.description(), gpu, &arguments.problem, &ceilings, &lines, seconds, host, printer)
}

/// Samples of the check: in a larger subset some activation lies so close to a kink of the loss, a ReLU's or a pool's, that
/// rounding decides on which side, and both answers are right.
const CHECKED: usize = 32;

/// Compares with the judge.
fn check(gpu: &GpuDevice, network: &Network, samples: &Samples, arguments: &HvpArguments) -> Result<()> {
    let samples = samples.first(samples.len().min(CHECKED))?;
    let got = checked_products(gpu, network, &samples, arguments)?;
    let want = checked_products(&CpuDevice::<f64>::new(), network, &samples, arguments)?;
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let error = norm(&mut got.iter().zip(&want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied());
    log::info!("the GPU's products are within {error:.1e} of the CPU's in f64");
    // The f32 twin is within 1e-6.
    if error.is_nan() || error > 1e-5 {
        return Err(Error::Numerical(format!(
            "the GPU's products are off by {error:.1e} of their norm: the driver or a kernel is at fault"
        )));
    }
    Ok(())
}

fn checked_products<D: Device>(
    device: &D,
    network: &Network,
    samples: &Samples,
    arguments: &HvpArguments,
) -> Result<Vec<f64>> {
    let objective = Objective::new(device, network, samples, DEFAULT_CHUNK)?;
    let mut product = Product::new(&objective, arguments)?;
    product.enqueue()?;
    let all = device.read(&product.products, 0..product.block * network.dim())?;
    Ok(all.into_iter().map(Scalar::widen).collect())
}

/// One line for each kernel and layer, in the order of their first call; dispatches of one call are added up.
fn lines(runs: &[Vec<Timing>]) -> Vec<Line> {
    let key = |t: &Timing| (t.kernel, t.layer);
    let mut seen = Vec::new();
    for key in runs[0].iter().map(key) {
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    let line = |&(kernel, layer): &(&'static str, (usize, usize))| {
        let of = |run: &[Timing]| run.iter().filter(|t| key(t) == (kernel, layer)).copied().collect::<Vec<_>>();
        let first = of(&runs[0]);
        let mut seconds: Vec<f64> = runs.iter().map(|run| of(run).iter().map(|t| t.seconds).sum()).collect();
        seconds.sort_by(f64::total_cmp);
        Line {
            kernel,
            layer,
            calls: first.len(),
            flop: first.iter().map(|t| 2.0 * t.multiply_adds as f64).sum(),
            bytes: first.iter().map(|t| t.bytes as f64).sum(),
            seconds: seconds[seconds.len() / 2],
        }
    };
    seen.iter().map(line).collect()
}

#[allow(clippy::too_many_arguments, reason = "it prints all that was measured")]
fn print(
    description: &str,
    gpu: &GpuDevice,
    arguments: &HvpArguments,
    ceilings: &Ceilings,
    lines: &[Line],
    seconds: f64,
    host: [f64; 2],
    printer: &Printer,
) -> Result<()> {
    let clock = if gpu.has_timestamps() { "the adapter's timestamps" } else { "the host's clock" };
    let whole = Line {
        kernel: "whole product",
        layer: (0, 0),
        calls: lines.iter().map(|l| l.calls).sum(),
        flop: lines.iter().map(|l| l.flop).sum(),
        bytes: lines.iter().map(|l| l.bytes).sum(),
        seconds,
    };
    let mut text = format!(
        "{description}\n{} samples, block {}; {:.1} GFLOP/s of multiply-adds, {:.1} GB/s copied; kernels timed by {clock}\n\n\
         | kernel | layer | calls | GFLOP | MB | ms | GFLOP/s | GB/s | share of |\n|---|---|---|---|---|---|---|---|---|\n",
        arguments.samples,
        arguments.block,
        1e-9 * ceilings.flop_per_s,
        1e-9 * ceilings.bytes_per_s
    );
    let mut rows = Vec::new();
    for line in lines.iter().chain([&whole]) {
        let Line { kernel, layer: (input, output), calls, flop, bytes, seconds } = *line;
        let (share, bound) = line.share(ceilings);
        let layer = if input == 0 { String::new() } else { format!("{input} > {output}") };
        let _ = writeln!(
            text,
            "| {kernel} | {layer} | {calls} | {:.2} | {:.1} | {:.2} | {:.1} | {:.1} | {:.0}% {bound} |",
            1e-9 * flop,
            1e-6 * bytes,
            1e3 * seconds,
            1e-9 * flop / seconds,
            1e-9 * bytes / seconds,
            100.0 * share
        );
        rows.push(json!({
            "kernel": kernel, "inputs": input, "outputs": output, "calls": calls, "flop": flop, "bytes": bytes,
            "seconds": seconds, "share": share, "bound": bound,
        }));
    }
    let _ = write!(
        text,
        "\n{:.1} Hessian-vector products a second (samples times directions); the host's own work is {:.2} ms a product, and the \
         adapter is idle in {:.3} ms or {:.1}% of it",
        (arguments.samples * arguments.block) as f64 / seconds,
        1e3 * host[0],
        1e3 * host[1],
        100.0 * host[1] / seconds
    );
    printer.print(
        &json!({
            "device": description,
            "samples": arguments.samples,
            "block": arguments.block,
            "repeats": arguments.repeats,
            "flop_per_s": ceilings.flop_per_s,
            "bytes_per_s": ceilings.bytes_per_s,
            "timestamps": gpu.has_timestamps(),
            "host_seconds": host[0],
            "idle_host_seconds": host[1],
            "kernels": rows,
        }),
        &text,
    )
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
