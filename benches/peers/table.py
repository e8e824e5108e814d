"""Medians of alternating rounds of ours, PyTorch's and JAX's speed, and their ratios, as a Markdown table."""
import argparse, json, pathlib, statistics, subprocess, sys

ap = argparse.ArgumentParser()
ap.add_argument("--samples", type=int, default=256)
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--eigenscope", default="target/release/eigenscope")
a = ap.parse_args()
here = pathlib.Path(__file__).resolve().parent
samples = ["--samples", str(a.samples)]
ours = [a.eigenscope, "bench", "hvp", "--device", "cpu", "--json", *samples, "--block"]
commands = {
    "ours, block 1": [*ours, "1"],
    "ours, block 4": [*ours, "4"],
    "PyTorch": [sys.executable, str(here / "torch_hvp.py"), "--block", "4", *samples],
    "JAX": [sys.executable, str(here / "jax_hvp.py"), "--block", "4", *samples],
}
runs = {name: [] for name in commands}
for _ in range(a.rounds):
    for name, command in commands.items():
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        runs[name].append(json.loads(run.stdout.strip().splitlines()[-1]))


def median(name, *keys):
    return statistics.median(next(run[key] for key in keys if run.get(key) is not None) for run in runs[name])


print(f"{a.samples} samples, medians of {a.rounds} rounds, per second\n")
print("| | " + " | ".join(commands) + " | block 1 / PyTorch | block 4 / PyTorch |")
print("|---" * (len(commands) + 3) + "|")
# PyTorch's and JAX's Hessian-vector products are those of their best form.
for what, keys in (
    ("Hessian-vector products", ("best_hvp_per_s", "hvp_per_s")),
    ("the same in a spectrum's coordinates", ("compressed_hvp_per_s", "best_hvp_per_s", "hvp_per_s")),
    ("gradients", ("grad_per_s",)),
    ("losses", ("loss_per_s",)),
):
    rates = {name: median(name, *keys) for name in commands}
    ratios = [rates[f"ours, block {k}"] / rates["PyTorch"] for k in (1, 4)]
    print(f"| {what} | " + " | ".join(f"{r:,.0f}" for r in rates.values()) + "".join(f" | {r:.2f}" for r in ratios) + " |")
