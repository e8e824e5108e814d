#!/usr/bin/env python3
"""Load a safetensors checkpoint of eigenscope into PyTorch and print its loss.

    python check_torch.py CHECKPOINT --samples N [--mnist DIR]

The layers are inferred from the tensor shapes: conv1, conv2, ... (odd kernel,
"same" padding, each followed by ReLU and a 2x2 max pooling), then fc1, fc2, ...
(ReLU between them). Tensors named rms.NAME and momentum.NAME (the optimizer's
state) are ignored; any other name that the network lacks is an error, because
load_state_dict runs with strict=True. Prints one JSON line with the mean softmax
cross-entropy over the first N MNIST training samples, computed in float64.
Needs numpy and torch only: the safetensors format is read by hand.
"""

import argparse
import gzip
import json
import re
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MNIST = Path(__file__).resolve().parent / ".." / ".." / "assets" / "mnist"
IGNORED = ("rms.", "momentum.")
DTYPES = {"F32": "<f4", "F64": "<f8"}
SIDE = 28


def read_idx(path):
    """The array of unsigned bytes in a gzip-compressed IDX file."""
    with gzip.open(path, "rb") as file:
        data = file.read()
    zero, kind, rank = struct.unpack_from(">HBB", data)
    if zero != 0 or kind != 8:
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_mnist(folder):
    """Training images (n, 28, 28) and labels (n,), both uint8, in file order."""
    folder = Path(folder)
    images = read_idx(folder / "train-images-idx3-ubyte.gz")
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz")
    if images.shape != (len(labels), SIDE, SIDE):
        raise ValueError(f"{folder}: images {images.shape}, labels {labels.shape}")
    return images, labels


def to_torch(images, labels, dtype=torch.float64):
    """Pixels divided by 255 in `dtype`, shape (n, 1, 28, 28), and int64 labels."""
    pixels = torch.from_numpy(images.astype(np.int64)).to(dtype) / 255
    return pixels.unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def read_safetensors(path):
    """(tensors by name as float arrays, metadata) of a safetensors file."""
    data = Path(path).read_bytes()
    if len(data) < 8:
        raise ValueError(f"{path}: shorter than 8 bytes")
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        raise ValueError(f"{path}: the header is longer than the file")
    header = json.loads(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name} is {entry['dtype']}, not F32 or F64")
        dtype = np.dtype(DTYPES[entry["dtype"]])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if not 0 <= begin <= end <= len(body) or end - begin != count * dtype.itemsize:
            raise ValueError(f"{path}: {name} has wrong data_offsets")
        array = np.frombuffer(body[begin:end], dtype).reshape(entry["shape"])
        tensors[name] = array.copy()
    return tensors, metadata


class Network(nn.Module):
    """conv1 ReLU pool, conv2 ReLU pool, ..., flatten C*H*W, fc1 ReLU, ..., fcN."""

    def __init__(self, convs, fcs, dtype=torch.float32):
        """convs: (in, out, kernel) of each; fcs: (in, out) of each."""
        super().__init__()
        self.convs, self.fcs = len(convs), len(fcs)
        for i, (inputs, outputs, kernel) in enumerate(convs, 1):
            layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, dtype=dtype)
            self.add_module(f"conv{i}", layer)
        for i, (inputs, outputs) in enumerate(fcs, 1):
            self.add_module(f"fc{i}", nn.Linear(inputs, outputs, dtype=dtype))

    def forward(self, x):
        for i in range(1, self.convs + 1):
            x = F.max_pool2d(F.relu(self.get_submodule(f"conv{i}")(x)), 2)
        x = x.flatten(1)
        for i in range(1, self.fcs):
            x = F.relu(self.get_submodule(f"fc{i}")(x))
        return self.get_submodule(f"fc{self.fcs}")(x)


def infer_network(shapes):
    """The float64 Network whose layers fit the tensor shapes {name: shape}."""
    numbers = {"conv": [], "fc": []}
    for name in shapes:
        match = re.fullmatch(r"(conv|fc)([1-9][0-9]*)\.weight", name)
        if match:
            numbers[match[1]].append(int(match[2]))
    for kind, found in numbers.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            raise ValueError(f"{kind} layers are numbered {sorted(found)}")
    if not numbers["fc"]:
        raise ValueError("the checkpoint has no fc1.weight")
    convs, fcs, channels, side = [], [], 1, SIDE
    for i in range(1, len(numbers["conv"]) + 1):
        shape = tuple(shapes[f"conv{i}.weight"])
        if len(shape) != 4 or shape[2] != shape[3] or shape[2] % 2 == 0:
            raise ValueError(f"conv{i}.weight has shape {shape}")
        if shape[1] != channels:
            raise ValueError(f"conv{i} takes {shape[1]} channels, it gets {channels}")
        convs.append((shape[1], shape[0], shape[2]))
        channels, side = shape[0], side // 2
    features = channels * side * side
    for i in range(1, len(numbers["fc"]) + 1):
        shape = tuple(shapes[f"fc{i}.weight"])
        if len(shape) != 2 or shape[1] != features:
            raise ValueError(f"fc{i}.weight has shape {shape}, it gets {features} features")
        fcs.append((shape[1], shape[0]))
        features = shape[0]
    if features != 10:
        raise ValueError(f"the last layer has {features} outputs, not 10")
    return Network(convs, fcs, torch.float64)


def load_network(path):
    """(float64 Network, metadata) of a checkpoint."""
    tensors, metadata = read_safetensors(path)
    tensors = {n: t for n, t in tensors.items() if not n.startswith(IGNORED)}
    network = infer_network({name: tensor.shape for name, tensor in tensors.items()})
    state = {n: torch.from_numpy(t.astype(np.float64)) for n, t in tensors.items()}
    network.load_state_dict(state, strict=True)
    return network, metadata


def mean_loss(network, images, labels, chunk=256):
    """Mean softmax cross-entropy of a float64 network over uint8 samples."""
    total = 0.0
    with torch.no_grad():
        for i in range(0, len(images), chunk):
            x, y = to_torch(images[i : i + chunk], labels[i : i + chunk])
            total += F.cross_entropy(network(x), y, reduction="sum").item()
    return total / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--samples", type=int, required=True, metavar="N")
    parser.add_argument("--mnist", type=Path, default=MNIST, metavar="DIR")
    args = parser.parse_args()
    try:
        network, metadata = load_network(args.checkpoint)
        images, labels = read_mnist(args.mnist)
        if not 1 <= args.samples <= len(images):
            raise ValueError(f"--samples must be from 1 to {len(images)}")
        loss = mean_loss(network, images[: args.samples], labels[: args.samples])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        sys.exit(f"check_torch.py: {type(error).__name__}: {error}")
    print(json.dumps({
        "loss": loss,
        "samples": args.samples,
        "parameters": sum(p.numel() for p in network.parameters()),
        "shapes": {n: list(p.shape) for n, p in network.named_parameters()},
        "metadata": metadata,
    }))


if __name__ == "__main__":
    main()
