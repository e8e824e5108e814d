//! `eigenscope hvp`: products of given vectors, so that anyone can check us from another language.

use super::arguments::{DataArguments, DeviceArguments, PrecisionArgument, SubsetArguments};
use super::{Printer, keep_apart};
use clap::Args;
use eigenscope::data::Samples;
use eigenscope::device::{Device, Scalar};
use eigenscope::objective::{Evaluation, Objective};
use eigenscope::run::{Checkpoint, TensorData, TensorFile};
use eigenscope::{Error, Result, with_device};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub struct Arguments {
    /// Checkpoint with the parameters
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Safetensors file with `vectors` (k, d)
    #[arg(long, value_name = "FILE")]
    vectors: PathBuf,
    /// Where `products` (k, d) and `gradient` (d) go, with the loss in the metadata
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    subset: SubsetArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Floating-point type; f64 on the CPU only
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArgument,
    /// Samples a chunk; changes results by rounding only
    #[arg(long, default_value_t = eigenscope::objective::DEFAULT_CHUNK, value_name = "N")]
    chunk: usize,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let data = arguments.data.load()?;
    let subset = arguments.subset.select(&data, 256)?;
    let checkpoint = Checkpoint::read(&arguments.checkpoint, data.shape)?;
    keep_apart(&[&arguments.checkpoint, &arguments.vectors], &[("--out", Some(&arguments.out))])?;
    let vectors = read_vectors(&arguments, checkpoint.network.dim())?;
    let choice = arguments.device.open(arguments.precision.into())?;
    let start = Instant::now();
    let (file, evaluation) =
        with_device!(&choice.device, device => products(device, &arguments, &checkpoint, &subset, &vectors))?;
    file.write(&arguments.out)?;
    let seconds = start.elapsed().as_secs_f64();
    printer.print(
        &json!({
            "loss": evaluation.loss, "accuracy": evaluation.accuracy, "hvps": vectors.len(), "seconds": seconds,
            "samples": subset.len(), "device": choice.description(), "out": arguments.out.display().to_string(),
        }),
        &format!(
            "loss {:.6} on {} samples; {} products in {seconds:.2} s, written to {}",
            evaluation.loss,
            subset.len(),
            vectors.len(),
            arguments.out.display()
        ),
    )
}

fn read_vectors(arguments: &Arguments, dim: usize) -> Result<Vec<Vec<f64>>> {
    let file = TensorFile::read(&arguments.vectors)?;
    let tensor = file.get("vectors")?;
    let most = if arguments.precision == PrecisionArgument::F32 { f64::from(f32::MAX) } else { f64::MAX };
    let values = tensor.data.to_f64();
    if let Some(x) = values.iter().find(|x| x.is_nan() || x.abs() > most) {
        return Err(Error::file(&arguments.vectors, format!("vectors holds {x:e}, which is no finite number here")));
    }
    match tensor.shape[..] {
        [k, d] if d == dim && k > 0 => Ok(values.chunks_exact(dim).map(<[f64]>::to_vec).collect()),
        _ => Err(Error::file(
            &arguments.vectors,
            format!("vectors has shape {:?}; this checkpoint wants [k, {dim}]", tensor.shape),
        )),
    }
}

fn products<D: Device>(
    device: &D,
    arguments: &Arguments,
    checkpoint: &Checkpoint,
    subset: &Samples,
    vectors: &[Vec<f64>],
) -> Result<(TensorFile, Evaluation)>
where
    TensorData: From<Vec<D::Scalar>>,
{
    let network = &checkpoint.network;
    let dim = network.dim();
    let objective = Objective::new(device, network, subset, arguments.chunk)?;
    let mut hessian = objective.linearize_host(&checkpoint.state.theta, arguments.device.memory())?;
    let vectors: Vec<Vec<D::Scalar>> =
        vectors.iter().map(|v| v.iter().map(|&x| D::Scalar::from_f64(x)).collect()).collect();
    hessian.prepare(vectors.len())?;
    let products = hessian.hvp_host(&vectors)?;
    let mut file = TensorFile::default();
    file.insert("products", &[products.len(), dim], products.concat());
    file.insert("gradient", &[dim], device.read(hessian.gradient(), 0..dim)?);
    file.note("loss", hessian.evaluation().loss);
    file.note("samples", subset.len());
    Ok((file, hessian.evaluation()))
}
