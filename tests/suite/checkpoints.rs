//! Checkpoints, both ways between us and PyTorch.

use crate::golden::golden;
use crate::support::*;
use eigenscope::data::ImageShape;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::network::Network;
use eigenscope::objective::Objective;
use eigenscope::run::{Checkpoint, TensorFile};
use eigenscope::train::TrainerState;
use std::path::{Path, PathBuf};

fn torch_checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_checkpoint.safetensors")
}

const MNIST: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

#[test]
fn a_checkpoint_from_pytorch_gives_pytorchs_loss_gradient_and_product() {
    let checkpoint = Checkpoint::read(&torch_checkpoint(), MNIST).unwrap();
    assert_eq!(checkpoint.network.spec(), "conv 3x3 3, conv 3x3 4, dense 8, dense 10");
    let file = golden("small.json");
    let device = CpuDevice::<f64>::new();
    let samples = mnist().train.first(64).unwrap();
    let objective = Objective::new(&device, &checkpoint.network, &samples, 64).unwrap();
    let mut hessian = objective.linearize(&cast(&checkpoint.state.theta), usize::MAX).unwrap();
    let product = hessian.hvp_host(&[direction(31, checkpoint.network.dim())]).unwrap().remove(0);
    let expected: f64 = TensorFile::read(&torch_checkpoint()).unwrap().metadata["loss_first_64"].parse().unwrap();
    assert!((hessian.evaluation().loss / expected - 1.0).abs() < 1e-12);
    let indices: Vec<usize> = crate::golden::numbers(&file["indices"]).iter().map(|&i| i as usize).collect();
    let error = |ours, name: &str| crate::golden::vector_error(&checkpoint.network, ours, &indices, &file[name]);
    assert!(error(hessian.gradient(), "gradient") < 1e-12);
    assert!(error(&product, "hvp") < 1e-12);
}

#[test]
fn a_checkpoint_of_ours_has_pytorchs_names_shapes_and_order() {
    // What PyTorch wrote, read and written again by us, holds the same tensors.
    let theirs = TensorFile::read(&torch_checkpoint()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.safetensors");
    let checkpoint = Checkpoint::read(&torch_checkpoint(), MNIST).unwrap();
    checkpoint.write(&path).unwrap();
    let ours = TensorFile::read(&path).unwrap();
    for (name, tensor) in &theirs.tensors {
        assert_eq!(Some(tensor), ours.tensors.get(name), "{name}");
        assert_eq!(ours.tensors[&format!("rms.{name}")].shape, tensor.shape);
        assert_eq!(ours.tensors[&format!("momentum.{name}")].shape, tensor.shape);
    }
    assert_eq!(ours.tensors.len(), 3 * theirs.tensors.len());
    assert_eq!(ours.metadata["step"], "0");
}

#[test]
fn a_checkpoint_round_trips_and_wrong_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let network = Network::parse("conv 3x3 2, dense 5, dense 10", MNIST, 10).unwrap();
    let mut state = TrainerState::start(seeded_theta(&network, 1, 0.1));
    state.step = 77;
    state.momenta[3] = 0.25;
    let checkpoint = Checkpoint { network, state, seed: Some(u64::MAX) };
    checkpoint.write(&path).unwrap();
    assert!(Checkpoint::read(&path, MNIST).unwrap() == checkpoint);

    let cifar = ImageShape { channels: 3, height: 32, width: 32 };
    let message = Checkpoint::read(&path, cifar).unwrap_err().to_string();
    assert!(message.contains("conv1.weight should have shape [2, 3, 3, 3]"), "{message}");

    let mut newer = TensorFile::read(&path).unwrap();
    newer.note("format", 2);
    newer.write(&path).unwrap();
    assert!(Checkpoint::read(&path, MNIST).unwrap_err().to_string().contains("update eigenscope"));

    let mut foreign = TensorFile::read(&torch_checkpoint()).unwrap();
    foreign.insert("bn1.weight", &[1], vec![1f32]);
    foreign.write(&path).unwrap();
    assert!(Checkpoint::read(&path, MNIST).unwrap_err().to_string().contains("bn1.weight"));
}
