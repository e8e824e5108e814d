"""MNIST and timing helpers shared by the peer scripts."""
import gzip, pathlib, time
import numpy as np

MNIST = pathlib.Path(__file__).resolve().parents[2] / "assets" / "mnist"

# Multiply-adds of one sample through the LeNet, per dense product.
CONV1, CONV2, FC1, FC2 = 25 * 784 * 32, 25 * 32 * 196 * 64, 3136 * 1024, 1024 * 10
# A forward-over-reverse product with the primal kept: 2 products in conv1 (no input tangent), 6 elsewhere.
HVP_FLOP = 2 * (2 * CONV1 + 6 * (CONV2 + FC1 + FC2))


def mnist(n):
    """(n, 28, 28) float32 pixels in [0, 1] and (n,) int labels: the first n training samples."""
    images = np.frombuffer(gzip.open(MNIST / "train-images-idx3-ubyte.gz").read(), np.uint8)[16:]
    labels = np.frombuffer(gzip.open(MNIST / "train-labels-idx1-ubyte.gz").read(), np.uint8)[8:]
    return images.reshape(-1, 28, 28)[:n].astype(np.float32) / 255.0, labels[:n].astype(np.int64)


def median_seconds(f, repeats, wait=lambda: None):
    """Median seconds of a call, after one that is not timed; `wait` waits for a GPU."""
    f()
    wait()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
