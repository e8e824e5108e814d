//! `eigenscope spectrum`: the extreme eigenpairs at a checkpoint.

use super::arguments::{DataArguments, DeviceArguments, PrecisionArgument, SubsetArguments};
use super::progress::Progress;
use super::{Printer, keep_apart};
use clap::{Args, ValueEnum};
use eigenscope::data::{Dataset, Samples};
use eigenscope::device::{Device, Scalar};
use eigenscope::eigen::{self, Eigenpair, Monitor, Options, Phase, Residuals, Solution, SolverState, Status};
use eigenscope::experiment::{Observer, Spectrum, SpectrumRequest, compute_spectrum};
use eigenscope::run::{Checkpoint, ConvergenceLog, TensorData, TensorFile, read_state, write_state};
use eigenscope::{Error, Result, with_device};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the pairs are judged by.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Certify {
    /// The residual of each, recomputed: one product a pair
    Device,
    /// A bound of each residual, by four products with random combinations of all pairs: too low in one solve of ten thousand
    Sketch,
    /// The residual of each, recomputed in f64 on the CPU
    F64,
}

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
    /// Converged when the residual is at most TOL times the eigenvalue (or times 0.001 of the largest, near zero); when it is
    /// recomputed, 5% more is allowed
    #[arg(long, default_value_t = 1e-3, value_name = "TOL")]
    tolerance: f64,
    /// Vectors a block, or auto: 1 or 2, by timing products (then the last bits depend on the clock)
    #[arg(long, default_value = "2", value_name = "B")]
    block: String,
    /// Most vectors in the basis (4 d bytes each, or 8 d in f64, or less with few samples) [default: 64, more for many pairs; with --memory, what half of it holds]
    #[arg(long, value_name = "M")]
    basis: Option<usize>,
    /// Most Hessian-vector products to find the pairs and look for missed ones; what is there then is returned, marked as
    /// what it is. Residuals come on top
    #[arg(long, default_value_t = 5000, value_name = "N")]
    max_hvps: usize,
    /// Most seconds, likewise
    #[arg(long, value_name = "S")]
    max_seconds: Option<f64>,
    /// Do not look for missed pairs with a fresh random block
    #[arg(long)]
    no_guard: bool,
    /// What the pairs are judged by
    #[arg(long, value_name = "HOW", value_enum, default_value = "device")]
    certify: Certify,
    /// Seed of the start vectors
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where eigenvalues, residuals, gradient and eigenvectors go (safetensors)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Convergence log: a CSV row a sweep over the basis (one block, or as many as make eight vectors)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Save the solve here now and then, to go on with --resume after an interruption
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Save the solve every N products
    #[arg(long, default_value_t = 50, value_name = "N", requires = "state")]
    save_every: usize,
    /// Go on from --state if it is there: to the same bits, on the same device
    #[arg(long, requires = "state")]
    resume: bool,
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

impl Arguments {
    fn options(&self, dim: usize) -> Result<Options> {
        let block = match self.block.as_str() {
            "auto" => 2,
            text => text.parse().map_err(|_| Error::Usage(format!("--block {text} is neither a number nor auto")))?,
        };
        if self.largest.checked_add(self.smallest).is_none_or(|pairs| pairs > dim) {
            let (largest, smallest) = (self.largest, self.smallest);
            let message = format!("--largest {largest} and --smallest {smallest} are more than the {dim} eigenvalues");
            return Err(Error::Usage(message));
        }
        if self.save_every == 0 {
            return Err(Error::Usage("--save-every must be at least 1".into()));
        }
        Ok(Options {
            largest: self.largest,
            smallest: self.smallest,
            tolerance: self.tolerance,
            block,
            basis: self.basis(dim, block),
            max_products: self.max_hvps,
            max_seconds: self.max_seconds,
            guard: !self.no_guard,
            seed: self.seed,
            residuals: match self.certify {
                Certify::Sketch => Residuals::Bounded,
                Certify::Device | Certify::F64 => Residuals::Recomputed,
            },
            vectors: self.out.is_some() || self.certify == Certify::F64,
        })
    }

    /// Most vectors in the basis: sixteen blocks beyond the wanted pairs restart seldom, three are the least that works.
    fn basis(&self, dim: usize, block: usize) -> usize {
        let wanted = self.largest + self.smallest;
        let usual = block.saturating_mul(16).saturating_add(wanted).max(64);
        match (self.basis, self.device.memory()) {
            (Some(basis), _) => basis,
            (None, Some(memory)) => {
                (memory / 2 / (4 * dim)).min(usual).max(block.saturating_mul(3).saturating_add(wanted))
            }
            (None, None) => usual,
        }
    }

    /// What a saved state must agree with: everything that changes the numbers.
    fn fingerprint(&self, options: &Options, data: &Dataset, subset: &Samples, theta: &[f32], device: &str) -> String {
        let mut hash = Sha256::new();
        theta.iter().for_each(|t| hash.update(t.to_le_bytes()));
        hash.update(subset.pixels());
        hash.update(subset.labels());
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let sketched = if options.residuals == Residuals::Bounded { " sketched" } else { "" };
        format!(
            "LA({}) SA({}) tolerance {} block {} basis {} guard {} seed {}{sketched} on {} {} samples {digest} by {device}",
            self.largest,
            self.smallest,
            self.tolerance,
            self.block,
            options.basis,
            options.guard,
            self.seed,
            subset.len(),
            data.name
        )
    }
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let outputs = [("--out", &arguments.out), ("--log", &arguments.log), ("--state", &arguments.state)];
    keep_apart(&[&arguments.checkpoint], &outputs.map(|(option, path)| (option, path.as_deref())))?;
    if let Some(state) = arguments.state.as_ref().filter(|state| !arguments.resume && state.exists()) {
        let message = "holds a saved solve already: go on with it by --resume, or remove it";
        return Err(Error::Usage(format!("--state {} {message}", state.display())));
    }
    let data = arguments.data.load()?;
    let subset = arguments.subset.select(&data, 256)?;
    let checkpoint = Checkpoint::read(&arguments.checkpoint, data.shape)?;
    let dim = checkpoint.network.dim();
    let options = arguments.options(dim)?;
    let choice = arguments.device.open(arguments.precision.into())?;
    let description = choice.description();
    let fingerprint = arguments.fingerprint(&options, &data, &subset, &checkpoint.state.theta, &description);
    let request = SpectrumRequest {
        network: &checkpoint.network,
        theta: &checkpoint.state.theta,
        subset: &subset,
        auto_block: arguments.block == "auto",
        memory: arguments.device.memory().map(|memory| memory.saturating_sub(4 * dim * options.vectors())),
        options,
        judge: arguments.certify == Certify::F64,
    };
    let (mut json, text, file) =
        with_device!(&choice.device, device => solve(device, &arguments, &request, &fingerprint)?);
    json["step"] = checkpoint.state.step.into();
    json["device"] = description.into();
    if let (Some(out), Some(mut file)) = (&arguments.out, file) {
        file.note("step", checkpoint.state.step);
        file.write(out)?;
        log::info!("written to {}", out.display());
    }
    printer.print(&json, &format!("step {}, {text}", checkpoint.state.step))
}

fn solve<D: Device>(
    device: &D,
    arguments: &Arguments,
    request: &SpectrumRequest<'_>,
    fingerprint: &str,
) -> Result<(Value, String, Option<TensorFile>)>
where
    TensorData: From<Vec<D::Scalar>>,
{
    let state: Option<SolverState<D::Scalar>> = match &arguments.state {
        Some(path) if arguments.resume && path.exists() => Some(read_state(path, fingerprint)?),
        _ => None,
    };
    let products = state.as_ref().map_or(0, |s| s.counters[0]);
    if products > 0 {
        log::info!("going on after {products} products");
    }
    let mut follower = Follower {
        progress: Progress::new(),
        log: arguments.log.as_deref().map(|path| ConvergenceLog::open(path, products)).transpose()?,
        options: &request.options,
        largest_reported: false,
        state: arguments.state.as_deref(),
        save_every: arguments.save_every,
        saved: products,
        fingerprint,
    };
    follower.progress.begin("spectrum", (request.options.largest + request.options.smallest) as u64);
    let spectrum = compute_spectrum(device, request, state.as_ref(), &mut follower)?;
    let wanted = spectrum.solution.largest.len() + spectrum.solution.smallest.len();
    follower.progress.end(&format!("{} of {wanted} pairs converged", spectrum.solution.converged()));
    let file = arguments.out.is_some().then(|| spectrum.to_file());
    Ok((describe_json(&spectrum, request), describe(&spectrum, request), file))
}

/// Shows a solve's progress, logs it and saves its state.
struct Follower<'a> {
    progress: Progress,
    log: Option<ConvergenceLog>,
    options: &'a Options,
    largest_reported: bool,
    state: Option<&'a Path>,
    save_every: usize,
    /// Products when the state was last saved.
    saved: usize,
    fingerprint: &'a str,
}

impl<T: Scalar> Monitor<T> for Follower<'_>
where
    TensorData: From<Vec<T>>,
{
    fn step(&mut self, p: &eigen::Progress) {
        let Options { largest, smallest, .. } = *self.options;
        let what = match p.phase {
            Phase::Search => format!("worst residual {:.1e} of its target", p.worst),
            Phase::Guard => "looking for missed pairs".into(),
            Phase::Hunt => format!("after a missed pair, residual {:.1e} of its target", p.worst),
        };
        self.progress.advance(
            (p.largest + p.smallest) as u64,
            &format!("pairs, {} HVPs, LA {}/{largest}, SA {}/{smallest}, {what}", p.products, p.largest, p.smallest),
        );
        if let Some(log) = &mut self.log {
            log.add(&p.into());
        }
        let waits = p.phase == Phase::Search && p.smallest < smallest;
        if !self.largest_reported && largest > 0 && p.largest == largest && waits {
            let values: Vec<String> = p.pairs.iter().rev().take(largest).map(|(v, _)| format!("{v:.5}")).collect();
            log::info!("LA({largest}) after {} products: {}", p.products, values.join(" "));
            self.largest_reported = true;
        }
    }

    fn wants_state(&mut self, products: usize) -> bool {
        self.state.is_some() && products >= self.saved + self.save_every
    }

    fn save(&mut self, state: SolverState<T>) -> Result<()> {
        let Some(path) = self.state else { return Ok(()) };
        self.saved = state.counters[0];
        write_state(path, &state, self.fingerprint)
    }
}

fn describe<T: Scalar>(spectrum: &Spectrum<T>, request: &SpectrumRequest<'_>) -> String {
    let s = &spectrum.solution;
    let mut text = format!(
        "loss {:.6} on {} samples; {} products, {} to look for missed pairs ({}), {} for residuals; {:.1} s\n",
        spectrum.evaluation.loss,
        request.subset.len(),
        s.products,
        s.guard_products,
        serde_json::to_value(s.guard).ok().as_ref().and_then(Value::as_str).unwrap_or_default(),
        s.verification_products,
        spectrum.seconds
    );
    let residual = if s.residuals == Residuals::Bounded { "residual below" } else { "residual" };
    let line = |value: &str, within: &str, of_residual: &str, angle: &str| {
        format!("{value:>14}  {within:>7}  {of_residual:>width$}  {angle:>7}", width = residual.len())
    };
    let _ = writeln!(text, "{}", line("eigenvalue", "within", residual, "angle"));
    for pair in s.descending() {
        let [within, of_residual] = [pair.value_bound, pair.residual].map(|bound| format!("{bound:.1e}"));
        let angle = pair.angle_bound.map_or("-".into(), |a| format!("{a:.1e}"));
        let status = match pair.status {
            Status::Converged => "",
            Status::NoiseFloor => "  at the noise floor",
            Status::BudgetSpent => "  not converged",
        };
        let cluster = pair.cluster.map_or(String::new(), |c| format!("  cluster {c}"));
        let line = line(&format!("{:.6}", pair.value), &within, &of_residual, &angle);
        let _ = writeln!(text, "{line}{status}{cluster}");
    }
    let _ = writeln!(text, "vectors orthonormal to {:.1e}; noise of products {:.1e}", s.orthogonality, s.noise);
    if s.negative < s.smallest.len() {
        let _ = writeln!(text, "only {} of the {} smallest are negative beyond noise", s.negative, s.smallest.len());
    }
    text
}

/// What the pairs were judged by in the end.
fn certified<T>(solution: &Solution<T>, request: &SpectrumRequest<'_>) -> &'static str {
    match (request.judge, solution.residuals) {
        (true, _) => "f64",
        (false, Residuals::Recomputed) => "device",
        (false, Residuals::Bounded) => "sketch",
    }
}

fn describe_json<T: Scalar>(spectrum: &Spectrum<T>, request: &SpectrumRequest<'_>) -> Value {
    let s = &spectrum.solution;
    let pair = |p: &Eigenpair<T>| {
        json!({
            "value": p.value, "residual": p.residual, "status": p.status, "value_bound": p.value_bound,
            "angle_bound_rad": p.angle_bound, "cluster": p.cluster,
        })
    };
    json!({
        "samples": request.subset.len(),
        "loss": spectrum.evaluation.loss,
        "accuracy": spectrum.evaluation.accuracy,
        "largest": s.largest.len(),
        "smallest": s.smallest.len(),
        "negative": s.negative,
        "block": spectrum.block,
        "hvps": s.products,
        "guard_hvps": s.guard_products,
        "verification_hvps": s.verification_products,
        "guard": s.guard,
        "alarms": s.alarms,
        "restarts": s.restarts,
        "noise": s.noise,
        "norm": s.norm,
        "orthogonality": s.orthogonality,
        "certified": certified(s, request),
        "seconds": spectrum.seconds,
        "pairs": s.descending().map(pair).collect::<Vec<_>>(),
    })
}
