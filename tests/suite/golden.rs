//! Our losses, gradients and Hessian-vector products against PyTorch's, in float64 (see tests/golden/README.md).

use crate::support::*;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::{Device, Scalar};
use eigenscope::network::Network;
use eigenscope::objective::{DEFAULT_CHUNK, Objective};
use serde_json::Value;

pub fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The largest of: relative error of the sampled components (by norm), of the norm, and of each tensor's norm (against
/// the whole vector's norm).
pub fn vector_error<T: Scalar>(network: &Network, ours: &[T], indices: &[usize], theirs: &Value) -> f64 {
    let sampled: Vec<T> = indices.iter().map(|&i| ours[i]).collect();
    let whole = theirs["norm"].as_f64().unwrap();
    let norm_of = |v: &[T]| norm(v.iter().map(|x| x.widen()));
    let mut worst =
        relative_error(&sampled, &numbers(&theirs["components"])).max((norm_of(ours) - whole).abs() / whole);
    for p in network.parameters() {
        let expected = theirs["tensor_norms"][&p.name].as_f64().unwrap();
        worst = worst.max((norm_of(&ours[p.range()]) - expected).abs() / whole);
    }
    worst
}

#[test]
fn the_generator_is_numpys() {
    let file = golden("lenet.json");
    for i in 0..5 {
        let z = format!("0x{:016x}", splitmix(1, i));
        assert_eq!(file["generator"]["z"][i as usize].as_str().unwrap(), z);
        assert_eq!(file["generator"]["value"][i as usize].as_f64().unwrap(), f64::from(value(1, i)));
    }
}

/// LeNet on 16 digits: the errors of (loss, gradient, first product, second product) against PyTorch.
pub fn lenet_errors<D: Device>(device: &D) -> [f64; 4] {
    let file = golden("lenet.json");
    let data = mnist();
    let network = Network::lenet(data.shape, 10).unwrap();
    let theta = upload(device, &cast(&seeded_theta(&network, 1, 0.1)));
    let objective = Objective::new(device, &network, &data.train.first(16).unwrap(), DEFAULT_CHUNK).unwrap();
    let mut hessian = objective.linearize(&theta, usize::MAX).unwrap();
    let products = hessian.hvp_host(&[direction(11, network.dim()), direction(12, network.dim())]).unwrap();
    let gradient = device.read(hessian.gradient(), 0..network.dim()).unwrap();
    let indices: Vec<usize> = numbers(&file["indices"]).iter().map(|&i| i as usize).collect();
    let loss = file["loss"].as_f64().unwrap();
    [
        (hessian.evaluation().loss - loss).abs() / loss,
        vector_error(&network, &gradient, &indices, &file["gradient"]),
        vector_error(&network, &products[0], &indices, &file["hvp1"]),
        vector_error(&network, &products[1], &indices, &file["hvp2"]),
    ]
}

#[test]
fn f64_twin_agrees_with_pytorch() {
    let errors = lenet_errors(&CpuDevice::<f64>::new());
    assert!(errors.iter().all(|e| *e < 1e-10), "{errors:?}");
}

#[test]
fn f32_twin_agrees_with_pytorch() {
    let errors = lenet_errors(&CpuDevice::<f32>::new());
    assert!(errors.iter().all(|e| *e < 1e-5), "{errors:?}");
}
