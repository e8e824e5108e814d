#!/usr/bin/env python3
"""Write the golden files of the tests with PyTorch: one command, no arguments.

    python generate.py [--mnist DIR]

Writes lenet.json, training.json, torch_checkpoint.safetensors and small.json next
to itself (README.md says what each holds). Needs numpy and torch only. Everything is
deterministic: parameters and directions come from the splitmix64 generator below,
which the Rust tests repeat bit for bit.
"""

import argparse
import json
import math
import platform
import struct
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from check_torch import MNIST, Network, load_network, mean_loss, read_mnist, to_torch

HERE = Path(__file__).resolve().parent
LENET = ([(1, 32, 5), (32, 64, 5)], [(3136, 1024), (1024, 10)])
SMALL = ([(1, 3, 3), (3, 4, 3)], [(196, 8), (8, 10)])
THETA_SEED, V1_SEED, V2_SEED, BATCH_SEED, SMALL_SEED, PICK_SEED = 1, 11, 12, 21, 31, 41
BIAS_LIMIT = 0.1
DIFFERENCE_STEPS = (1e-6, 1e-7, 1e-8, 1e-9)


# --- the generator ---------------------------------------------------------------


def splitmix64(index, seed):
    """The 64-bit outputs z of an array of indices, modulo 2^64."""
    i = np.asarray(index, dtype=np.uint64)
    offset = np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    with np.errstate(over="ignore"):
        z = (i + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + offset
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def values(begin, count, seed):
    """2 u - 1 with the 24-bit u of each index; exact in float32, so float32."""
    z = splitmix64(np.arange(begin, begin + count, dtype=np.uint64), seed)
    u = (z >> np.uint64(40)).astype(np.float64) * 2.0**-24
    return (2.0 * u - 1.0).astype(np.float32)


def limits(network):
    """The float32 factor of each parameter tensor, in order."""
    result = {}
    for name, p in network.named_parameters():
        if name.endswith(".bias"):
            result[name] = np.float32(BIAS_LIMIT)
        else:
            area = math.prod(p.shape[2:])
            fans = p.shape[1] * area + p.shape[0] * area
            result[name] = np.float32(math.sqrt(6 / fans))
    return result


def set_theta(network, zero_biases):
    """theta_i = float32(value_i * limit), i the index in the flattened vector."""
    begin, limit = 0, limits(network)
    with torch.no_grad():
        for name, p in network.named_parameters():
            t = values(begin, p.numel(), THETA_SEED) * limit[name]
            assert t.dtype == np.float32
            if zero_biases and name.endswith(".bias"):
                t[:] = 0
            p.copy_(torch.from_numpy(t).view(p.shape))
            begin += p.numel()


def direction(network, seed):
    count = sum(p.numel() for p in network.parameters())
    return torch.from_numpy(values(0, count, seed)).to(torch.float64)


def picks(network, quota):
    """Sorted flat indices, at most `quota` per tensor, one from each of m equal parts:
    low + z_k mod (high - low), where part j of a tensor of n elements spans
    [j n / m, (j + 1) n / m) and k counts the picks of all tensors (seed 41)."""
    result, begin = [], 0
    for name, p in network.named_parameters():
        n = p.numel()
        m = min(n, quota[name])
        for j in range(m):
            low, high = j * n // m, (j + 1) * n // m
            z = int(splitmix64([len(result)], PICK_SEED)[0])
            result.append(begin + low + z % (high - low))
        begin += n
    return result


# --- derivatives -----------------------------------------------------------------


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def split(network, vector):
    parameters = list(network.parameters())
    parts = vector.split([p.numel() for p in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters)]


def shift(network, theta, step, vector):
    """Set the parameters to theta + step * vector."""
    with torch.no_grad():
        for p, t in zip(network.parameters(), split(network, theta + step * vector)):
            p.copy_(t)


def loss_of(network, x, y):
    return F.cross_entropy(network(x), y)


def gradient(network, x, y):
    return flat(torch.autograd.grad(loss_of(network, x, y), list(network.parameters())))


def hvp(network, x, y, vector):
    """H v by double backward."""
    parameters = list(network.parameters())
    grads = torch.autograd.grad(loss_of(network, x, y), parameters, create_graph=True)
    product = sum((g * v).sum() for g, v in zip(grads, split(network, vector)))
    return flat(torch.autograd.grad(product, parameters))


def check_by_differences(label, network, x, y, vector, product):
    """Print and return the relative error of central differences of the gradient."""
    theta = flat(network.parameters())
    errors = {}
    for step in DIFFERENCE_STEPS:
        shift(network, theta, step, vector)
        plus = gradient(network, x, y)
        shift(network, theta, -step, vector)
        minus = gradient(network, x, y)
        difference = (plus - minus) / (2 * step)
        errors[f"{step:g}"] = float((difference - product).norm() / product.norm())
    shift(network, theta, 0.0, vector)
    assert torch.equal(flat(network.parameters()), theta)
    listed = ", ".join(f"{e:.1e} at step {s}" for s, e in errors.items())
    print(f"  {label} against central differences: relative error {listed}", flush=True)
    assert min(errors.values()) < 1e-6, f"{label} is wrong"
    return errors


def norms(network, vector):
    names = [name for name, _ in network.named_parameters()]
    return {n: float(t.norm()) for n, t in zip(names, split(network, vector))}


def describe(network, vector, directions, indices):
    return {
        "norm": float(vector.norm()),
        "tensor_norms": norms(network, vector),
        **{f"dot_{name}": float(vector @ v) for name, v in directions.items()},
        "components": vector[torch.tensor(indices)].tolist(),
    }


# --- files -----------------------------------------------------------------------


def pretty(value, indent=0):
    """JSON with one object entry a line and four numbers a line."""
    pad = " " * (indent + 2)
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(k)}: {pretty(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if isinstance(value, list) and len(value) > 4 and not isinstance(value[0], (list, dict)):
        step = 12 if isinstance(value[0], int) else 4
        rows = [", ".join(map(json.dumps, value[i : i + step])) for i in range(0, len(value), step)]
        return "[\n" + ",\n".join(pad + row for row in rows) + "\n" + " " * indent + "]"
    return json.dumps(value, allow_nan=False)


def write_json(name, value):
    text = pretty(value) + "\n"
    assert json.loads(text) == value
    assert len(text) < 60_000
    (HERE / name).write_text(text)
    print(f"wrote {name}: {len(text)} bytes", flush=True)


def write_safetensors(name, tensors, metadata):
    """8 bytes of little-endian header length, JSON header, raw little-endian data."""
    header, body = {"__metadata__": metadata}, b""
    for key, tensor in tensors.items():
        data = tensor.detach().numpy().astype("<f4").tobytes()
        header[key] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + body
    assert len(data) < 20_000
    (HERE / name).write_bytes(data)
    print(f"wrote {name}: {len(data)} bytes", flush=True)


def versions():
    return {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}


def generator_sample(seed):
    z = splitmix64(np.arange(5), seed)
    return {"seed": seed, "z": [f"0x{int(k):016x}" for k in z], "value": values(0, 5, seed).tolist()}


# --- the four golden files -------------------------------------------------------


def make_lenet(images, labels):
    count = 16
    network = Network(*LENET, dtype=torch.float64)
    set_theta(network, zero_biases=False)
    theta = flat(network.parameters())
    assert len(theta) == 3_274_634
    x, y = to_torch(images[:count], labels[:count])
    v = {"v1": direction(network, V1_SEED), "v2": direction(network, V2_SEED)}
    quota = {"conv1.weight": 40, "conv1.bias": 16, "conv2.weight": 60, "conv2.bias": 16,
             "fc1.weight": 100, "fc1.bias": 24, "fc2.weight": 40, "fc2.bias": 10}
    indices = picks(network, quota)
    loss = loss_of(network, x, y).item()
    g = gradient(network, x, y)
    products = {name: hvp(network, x, y, vector) for name, vector in v.items()}
    errors = {name: check_by_differences(f"lenet H {name}", network, x, y, v[name], products[name])
              for name in v}
    shift(network, theta, 1e-3, v["v1"])
    shifted = loss_of(network, x, y).item()
    write_json("lenet.json", {
        "versions": versions(),
        "samples": count,
        "generator": generator_sample(THETA_SEED),
        "limits": {n: float(l) for n, l in limits(network).items()},
        "shapes": {n: list(p.shape) for n, p in network.named_parameters()},
        "theta": {"seed": THETA_SEED, "norm": float(theta.norm()), "first": theta[:5].tolist(),
                  "last": theta[-5:].tolist(), "tensor_norms": norms(network, theta)},
        "v1": {"seed": V1_SEED, "norm": float(v["v1"].norm()), "first": v["v1"][:5].tolist()},
        "v2": {"seed": V2_SEED, "norm": float(v["v2"].norm()), "first": v["v2"][:5].tolist()},
        "loss": loss,
        "loss_at_theta_plus_1e-3_v1": shifted,
        "v1_h_v1": float(v["v1"] @ products["v1"]),
        "v2_h_v2": float(v["v2"] @ products["v2"]),
        "central_difference_errors": errors,
        "indices": indices,
        "gradient": describe(network, g, v, indices),
        "hvp1": describe(network, products["v1"], v, indices),
        "hvp2": describe(network, products["v2"], v, indices),
    })


def train(dtype, images, labels):
    """200 steps of RMSProp; everything in `dtype`, evaluations in float64."""
    batch, steps, per_epoch = 32, 200, 50000 / 32
    network, probe = Network(*LENET, dtype=dtype), Network(*LENET, dtype=torch.float64)
    set_theta(network, zero_biases=True)
    parameters = list(network.parameters())
    ms = [torch.ones_like(p) for p in parameters]
    mom = [torch.zeros_like(p) for p in parameters]
    result = {"loss_first_512": {}, "minibatch_loss": [], "tensor_norms": {}}
    for t in range(steps + 1):
        if t in (0, 5, 50, 100, 200):
            probe.load_state_dict(network.state_dict())
            result["loss_first_512"][str(t)] = mean_loss(probe, images[:512], labels[:512])
            if t in (5, 200):
                theta = flat(network.parameters()).to(torch.float64)
                result["tensor_norms"][str(t)] = norms(network, theta)
        if t == steps:
            break
        z = splitmix64(np.arange(batch * t, batch * (t + 1)), BATCH_SEED)
        chosen = (z >> np.uint64(11)) % np.uint64(50000)
        x, y = to_torch(images[chosen], labels[chosen], dtype)
        loss = loss_of(network, x, y)
        if t < 10:
            result["minibatch_loss"].append(loss.item())
        lr = 0.00036 * 0.75 ** (t / per_epoch)
        with torch.no_grad():
            for p, g, s, m in zip(parameters, torch.autograd.grad(loss, parameters), ms, mom):
                s.copy_(0.95 * s + 0.05 * (g * g))
                m.copy_(0.22 * m + lr * g / torch.sqrt(s + 1e-10))
                p.sub_(m)
    return result


def make_training(images, labels):
    runs = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        start = time.monotonic()
        runs[name] = train(dtype, images, labels)
        print(f"  {name}: {runs[name]['loss_first_512']} ({time.monotonic() - start:.0f} s)", flush=True)
    a, b = (runs[name]["loss_first_512"] for name in ("float32", "float64"))
    deviation = {t: abs(a[t] - b[t]) / abs(b[t]) for t in a}
    print(f"  relative deviation of float32 from float64: {deviation}", flush=True)
    first = splitmix64(np.arange(5), BATCH_SEED)
    write_json("training.json", {
        "versions": versions(),
        "batch": 32,
        "steps": 200,
        "steps_per_epoch": 50000 / 32,
        "first_batch_indices": [int(k) for k in (first >> np.uint64(11)) % np.uint64(50000)],
        "loss_deviation": deviation,
        **runs,
    })


def make_small(images, labels):
    count, name = 64, "torch_checkpoint.safetensors"
    torch.manual_seed(0)
    state = Network(*SMALL).state_dict()
    network = Network(*SMALL, dtype=torch.float64)
    network.load_state_dict(state)
    x, y = to_torch(images[:count], labels[:count])
    loss = mean_loss(network, images[:count], labels[:count])
    write_safetensors(name, state, {"loss_first_64": repr(loss)})
    network, metadata = load_network(HERE / name)
    assert mean_loss(network, images[:count], labels[:count]) == loss == float(metadata["loss_first_64"])
    v = direction(network, SMALL_SEED)
    quota = {"conv1.weight": 27, "conv1.bias": 3, "conv2.weight": 40, "conv2.bias": 4,
             "fc1.weight": 80, "fc1.bias": 8, "fc2.weight": 40, "fc2.bias": 10}
    indices = picks(network, quota)
    g, product = gradient(network, x, y), hvp(network, x, y, v)
    errors = check_by_differences("small H v", network, x, y, v, product)
    write_json("small.json", {
        "versions": versions(),
        "checkpoint": name,
        "samples": count,
        "shapes": {n: list(p.shape) for n, p in network.named_parameters()},
        "loss": loss,
        "v": {"seed": SMALL_SEED, "norm": float(v.norm()), "first": v[:5].tolist()},
        "v_h_v": float(v @ product),
        "central_difference_errors": errors,
        "indices": indices,
        "gradient": describe(network, g, {"v": v}, indices),
        "hvp": describe(network, product, {"v": v}, indices),
    })


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--mnist", type=Path, default=MNIST, metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the order of float32 sums must not depend on the machine's cores
    images, labels = read_mnist(args.mnist)
    sample = generator_sample(THETA_SEED)
    print("generator, seed 1:", *(f"{z} -> {v!r}" for z, v in zip(sample["z"], sample["value"])), sep="\n  ")
    make_small(images, labels)
    make_lenet(images, labels)
    make_training(images, labels)


if __name__ == "__main__":
    main()
