"""Do JAX and PyTorch compute the same? A table of differences, part by part.

    python -m experiments.framework_comparison.parity --torch_python=.venv-bench/bin/python

Runs `parts.py` here and in PyTorch's environment on the same problems, and writes
experiments/results/framework_parity.md. Exit status 1 when a difference exceeds its bound.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pycocotools.mask

from exits_jax.system.files import write_bytes
from experiments.framework_comparison.problem import load_arrays, load_problem

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "experiments" / "results" / "framework_parity.md"
PACKAGE = "experiments.framework_comparison"

# name -> arguments of `prepare.py`
PROBLEMS = {
    "ViT-Ti, random, 112 px, 4 crops": ("--size=Ti", "--crop=112", "--batch=4"),
    "DINOv2-S/14, 336 px, 2 crops": ("--size=dinov2", "--crop=336", "--batch=2"),
}

FORWARD = 1e-5
# Of the teacher itself. optax rounds rate * teacher and (1 - rate) * student apart, PyTorch's lerp
# their difference: that is an ulp of the parameter in every step, too much for its small change.
TEACHER = 2e-6
# By the beginning of a name, others `FORWARD`.
BOUNDS = {
    # exp((cosine - 1) / 0.1): the cosine's rounding, 1e-6 in either framework, times ten.
    "transition:keys/similarity": 2e-5,
    "scores_from_pixels:": 1e-4,  # the exponential and five rounds of reseeding come on top
    "gradients:": 1e-4,
    "steps:": 1e-3,
    "labelling:": 1e-3,
}
# A ReLU whose input is within rounding of 0 may be on here and off there: the gradient jumps. Among
# the decoder's 1.7 million of two 336-pixel crops there usually is one ("conv2 above 0"), and it
# alone moves gradients by 5e-3, for PyTorch in float32 against itself in float64, too. What ten
# steps change meets more of such ReLUs, one after the other.
LARGE = "--crop=336"
KINKS = {"gradients:": 1e-2, "steps:": 5e-2}
# Relative to the largest value of the array, which is taken as 1 at least where 1 is the unit: a
# uniform walk scores 0 = 1 - 1, so its difference has the rounding of the two ones.
UNIT = ("scores:", "scores_from_pixels:", "losses:", "score_maps:")
# Softmax does not see what is added to all keys: the true gradient of their bias is zero, and what
# either framework finds is rounding.
NO_GRADIENT = "attention/key/bias"


class Row(NamedTuple):
    """One line of the table."""

    part: str  # what is compared
    arrays: int  # how many it stands for
    absolute: float  # the largest difference
    relative: float  # the largest of difference / largest value, array by array
    bound: float | None  # on `relative`; None: shown only

    @property
    def holds(self) -> bool:
        """Whether the difference is within its bound (a NaN is not)."""
        return self.bound is None or self.relative <= self.bound


def group_of(name: str) -> str:
    """The row a result belongs to: parameters of a layer share one."""
    if name.endswith(NO_GRADIENT):
        return re.sub(r"encoder/.*", "key biases (true gradient 0)", name)
    name = re.sub(r"(encoder/block\d+|decoder/\w+|encoder/\w+)/.*", r"\1", name)
    return re.sub(r"mask \d+", "masks, 1 - IoU", name)


def bound_of(name: str, kinks: bool) -> float | None:
    """The bound on a result's relative difference; `kinks`: ReLUs on their edge are expected."""
    # AdamW scales the smallest gradients up to the largest.
    if name.endswith(NO_GRADIENT) or ("AdamW" in name and kinks):
        return None
    if "/teacher's " in name and "SGD" in name and not kinks:
        return TEACHER
    bounds = BOUNDS | KINKS if kinks else BOUNDS
    return next((value for part, value in bounds.items() if name.startswith(part)), FORWARD)


def difference(name: str, ours: np.ndarray, theirs: np.ndarray, sizes: Sequence) -> tuple:
    """Absolute and relative; masks are compared by their IoU, truths by the share that differs.

    Raises:
      ValueError: other shapes.
    """
    if name.startswith("labelling:"):
        lost = 1.0 - mask_iou(ours, theirs, sizes[int(name.rpartition(" ")[2])])
        return lost, lost
    if ours.shape != theirs.shape:
        raise ValueError(f"{name}: JAX has {ours.shape}, PyTorch {theirs.shape}")
    if ours.dtype == bool:
        return np.sum(ours != theirs), np.mean(ours != theirs)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    size = root_mean_square if "/change of " in name else largest
    apart, scale = size(ours - theirs), size(ours)
    if name.startswith(UNIT):
        scale = max(scale, 1.0)
    return largest(ours - theirs), apart / scale if scale else apart


def largest(values: np.ndarray) -> float:
    """The largest absolute value."""
    return float(np.max(np.abs(values), initial=0.0))


def root_mean_square(values: np.ndarray) -> float:
    """Of all entries."""
    return float(np.sqrt(np.mean(values**2)))


def mask_iou(ours: np.ndarray, theirs: np.ndarray, size: Sequence[int]) -> float:
    """IoU of two masks given as the characters of their run lengths."""
    sides = [int(side) for side in size]
    both = [[{"size": sides, "counts": counts.tobytes()}] for counts in (ours, theirs)]
    return float(pycocotools.mask.iou(*both, [0])[0, 0])


def compare(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    sizes: Sequence,
    kinks: bool = False,
) -> list[Row]:
    """Rows of all results, those of a group joined to the worst, in the order of the parts.

    Raises:
      ValueError: one side has a result that the other lacks.
    """
    if missing := ours.keys() ^ theirs.keys():
        raise ValueError(f"only one side has {sorted(missing)}")
    groups: dict[str, list[str]] = {}
    for name in ours:
        groups.setdefault(group_of(name), []).append(name)
    rows = []
    for part, names in groups.items():
        found = [difference(name, ours[name], theirs[name], sizes) for name in names]
        rows.append(Row(part, len(names), *np.max(found, axis=0), bound_of(names[0], kinks)))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [
        "| part | arrays | max absolute | max relative | bound | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        bound = "" if row.bound is None else f"{row.bound:.0e}"
        lines.append(
            f"| {row.part} | {row.arrays} | {row.absolute:.1e} | {row.relative:.1e} | {bound} | "
            f"{'' if row.holds else '**beyond**'} |"
        )
    return "\n".join(lines)


def run_problem(
    arguments: Sequence[str], torch_python: str, folder: pathlib.Path, parts: Sequence[str] = ()
) -> list[Row]:
    """Prepares a problem, lets both sides work on it and compares."""
    problem, ours, theirs = (folder / f"{name}.npz" for name in ("problem", "jax", "torch"))
    chosen = [f"--problem={problem}", *(["--parts", *parts] if parts else [])]
    given = [f"--out={theirs}", f"--given={ours}"]
    run(sys.executable, "prepare", f"--out={problem}", *arguments)
    run(sys.executable, "parts", "--side=jax", f"--out={ours}", *chosen)
    run(torch_python, "parts", "--side=torch", *given, *chosen)
    sizes = load_problem(problem).batch["image_size"]
    return compare(load_arrays(ours), load_arrays(theirs), sizes, kinks=LARGE in arguments)


def run(python: str, module: str, *arguments: str) -> None:
    """Runs one of this folder's modules in a process of its own."""
    subprocess.run([python, "-m", f"{PACKAGE}.{module}", *arguments], cwd=ROOT, check=True)


def main() -> int:
    """Compares on every problem and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch_python", default=str(ROOT / ".venv-bench" / "bin" / "python"))
    parser.add_argument("--problems", nargs="*", default=[*PROBLEMS], choices=[*PROBLEMS])
    parser.add_argument("--parts", nargs="*", default=[], help="some of the parts only")
    parser.add_argument("--output", default=str(OUTPUT))
    given = parser.parse_args()
    page, good = [HEAD], True
    for name in given.problems:
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            rows = run_problem(PROBLEMS[name], given.torch_python, place, given.parts)
        good &= all(row.holds for row in rows)
        page.append(f"## {name}\n\n{markdown(rows)}\n")
        print(page[-1])
    write_bytes(given.output, "\n".join(page).encode())
    return 0 if good else 1


HEAD = """# JAX and PyTorch compute the same

Made by `python -m experiments.framework_comparison.parity`; float32 on the CPU. Each part starts
from the same inputs; only `generator:logits` and `scores_from_pixels` go all the way from pixels.
Relative: the largest difference over the largest value of the array (over 1 at least for scores and
losses, whose unit is 1); of several arrays the worst. `d` is the gradient of the mean loss. `steps`
compares the *change* of parameters after ten steps, not the parameters, beside which any change is
small; "relative" there is the root mean square of the difference over that of the change, because
AdamW moves a parameter of vanishing gradient as far as any other. Teachers are compared themselves.
The bias of the keys has no gradient (softmax does not see it): it is shown without a bound.
Of truths ("above 0", labels) the columns show how many differ, and their share. A ReLU of the
decoder on its edge, on here and off there, moves all gradients by some 5e-3: at 336 px that is
expected, and after it AdamW is shown without a bound.
"""

if __name__ == "__main__":
    sys.exit(main())
