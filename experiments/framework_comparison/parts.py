"""The parts of the parity check, written once for both frameworks: each one's results by name.

    python -m experiments.framework_comparison.parts --side=jax --problem=problem.npz --out=jax.npz

Every part takes a side (`jax_side` or `torch_side`, whose functions have the same names), the
problem, and what earlier parts gave: the package's results on either side (`--given`), so that a
difference shows where it arises. Results have the package's layout and names.
"""

import argparse
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison.problem import (
    KNOWN,
    OBJECTIVES,
    RATES,
    RETRIEVAL,
    Problem,
    load_arrays,
    load_problem,
    settings_of,
)

LAYERS = {"attention": (1, 10), "keys": (9, 10, 11)}  # that are looked at
WALKS = {
    **{f"attention {form}": {"form": form} for form in ("kernel", "applied", "absorbing")},
    "attention, log ratio": {"decision": "log_ratio", "box_only": "centre"},
    "keys": {},
}
POINTS = ("labels", "weights", "empty")
STEPS = 10
TEACHER_RATE = 0.9  # so that within these steps the teacher moves by more than rounding

Results = dict[str, Any]


def features(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Tokens after every layer, and the final features."""
    *tokens, final = side.tokens(problem)
    layers = {f"tokens/layer{n:02d}": x for n, x in enumerate(tokens, start=1)}
    return {**layers, "final": final}


def maps(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Attention and keys of some layers."""
    found = side.maps(problem, attention_layers=LAYERS["attention"], key_layers=LAYERS["keys"])
    return {f"{kind}/layer{n:02d}": found[kind][n] for kind in LAYERS for n in LAYERS[kind]}


def transition(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Similarity, T, and its kernels."""
    results: Results = {}
    for source, settings in RETRIEVAL.items():
        similarity = results[f"{source}/similarity"] = _similarity(side, given, settings)
        results[f"{source}/T"] = side.transition_matrix(
            similarity, iterations=settings.sinkhorn_iterations, symmetric=settings.symmetric
        )
    walk, settings = results["attention/T"], RETRIEVAL["attention"]
    results["power kernel"] = side.power_kernel(walk, settings.hops)
    results["absorbing kernel"] = side.absorbing_kernel(walk, settings.beta)
    return results


def scores(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Scores in every form, from the same attention and keys."""
    batch, results = side.batch_of(problem), {}
    for name, changes in WALKS.items():
        settings = settings_of("keys" if name == "keys" else "attention", **changes)
        found = side.propagation_score(_similarity(side, given, settings), batch, settings)
        results[name] = found.score
        points = side.retrieve_points(found, settings)
        results |= {f"{name}/{part}": value for part, value in zip(POINTS, points, strict=True)}
    return results


def scores_from_pixels(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Scores of the two settings, each framework all the way by itself."""
    return {source: side.crop_scores(problem, RETRIEVAL[source]).score for source in RETRIEVAL}


def generator(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Logits from the same features, which ReLUs of the decoder are on, and logits from pixels."""
    logits, *inputs = side.decoded(problem, given["features:final"])
    active = {f"conv{n} above 0": x > 0 for n, x in enumerate(inputs, start=1)}
    return {"decoder": logits, **active, "logits": side.logits(problem)}


def score_maps(side: ModuleType, problem: Problem, given: Results) -> Results:
    """What is done with a map: shape offset, resampling, the prior."""
    batch, logits = side.batch_of(problem), given["generator:logits"]
    windows = (batch[name] for name in ("canonical_window", "window_xyxy", "flip"))
    return {
        "shape offset": side.shape_offset(logits, *(batch[name] for name in KNOWN)),
        "resampled": side.resample_score(batch["canonical_score"], *windows, grid=problem.grid),
        "prior": side.prior_logits(given["scores:keys"], logits.shape[-1], 1.0),
    }


def losses(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Every loss on the same logits and points."""
    batch, logits, settings = (
        side.batch_of(problem),
        given["generator:logits"],
        OBJECTIVES["paper"].losses,
    )
    labels, weights = given["scores:keys/labels"], given["scores:keys/weights"]
    cells, at_cells = logits.shape[-1], side.at_points(logits, problem.grid)
    box = side.box_masks(batch["box_xyxy"], batch["valid_xyxy"], cells)
    valid = side.box_masks(batch["valid_xyxy"], batch["valid_xyxy"], cells)
    probability = side.sigmoid(logits)
    small = side.small_image(side.normalise(batch["image"]), cells)
    refined = side.mean_field(
        probability, small, box, sweeps=settings.crf_sweeps, sigma=settings.crf_sigma, valid=valid
    )
    return {
        "at points": at_cells,
        "small image": side.channels_last(small),
        "point": side.point_loss(at_cells, labels, weights),
        "point, balanced": side.point_loss(at_cells, labels, weights, balanced=True),
        "mil": side.mil_loss(probability, box, valid=valid),
        "mean field": refined,
        "crf": side.crf_loss(probability * box, refined),
        "soft": side.soft_loss(at_cells, given["scores:keys"], batch),
    }


def gradients(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Loss parts and gradients of the warm-up's, the paper's and the residual's objective."""
    results: Results = {}
    for name in OBJECTIVES:
        parts, gradient = side.gradients(problem, name)
        results |= {f"{name}/{part}": value for part, value in parts.items()}
        results |= {f"{name}/d {key}": value for key, value in gradient.items()}
    return results


def steps(side: ModuleType, problem: Problem, given: Results) -> Results:
    """What ten steps change of the parameters, and the teacher then, by SGD and by AdamW."""
    results: Results = {}
    for name in RATES:
        objective, optimiser = name.split(", ")
        start, end, teacher, loss = side.trained(
            problem, objective, STEPS, problem.rate(name), TEACHER_RATE, sgd=optimiser == "SGD"
        )
        results[f"{name}/last loss"] = loss
        results |= {f"{name}/change of {key}": end[key] - start[key] for key in start}
        results |= {f"{name}/teacher's {key}": array for key, array in teacher.items()}
    return results


def labelling(side: ModuleType, problem: Problem, given: Results) -> Results:
    """Masks in the photographs, from the same logits."""
    known = ("window_xyxy", "instance_box", "image_size")
    rows = zip(given["generator:logits"], *(problem.batch[name] for name in known), strict=True)
    return {
        f"mask {row}": np.frombuffer(side.run_lengths(*example), np.uint8)
        for row, example in enumerate(rows)
    }


Part = Callable[[ModuleType, Problem, Results], Results]
_FORWARD: tuple[Part, ...] = (features, maps, transition, scores, scores_from_pixels, generator)
_TRAINING: tuple[Part, ...] = (score_maps, losses, gradients, steps, labelling)
# In the order they run in; the name is the prefix of the results.
PARTS = {part.__name__: part for part in (*_FORWARD, *_TRAINING)}


def _similarity(side: ModuleType, given: Results, settings: RetrievalSettings) -> Any:
    """Similarity from the maps the package found."""
    found = {
        kind: {n: given[f"maps:{kind}/layer{n:02d}"] for n in layers}
        for kind, layers in LAYERS.items()
    }
    return side.similarity_matrix(found, settings=settings)


def main() -> None:
    """Runs parts on one side and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", required=True, choices=["jax", "torch"])
    parser.add_argument("--problem", required=True)
    parser.add_argument("--given", help="the package's results; its own side makes them")
    parser.add_argument("--out", required=True)
    parser.add_argument("--parts", nargs="*", default=[*PARTS])
    arguments = parser.parse_args()
    side = importlib.import_module(f"experiments.framework_comparison.{arguments.side}_side")
    problem, results = load_problem(arguments.problem), {}
    given = side.place(load_arrays(arguments.given)) if arguments.given else {}
    for name in arguments.parts:
        found = PARTS[name](side, problem, given)
        found = {f"{name}:{key}": np.asarray(value) for key, value in found.items()}
        results |= found
        if not arguments.given:
            given |= side.place(found)
    np.savez(arguments.out, **results)


if __name__ == "__main__":
    main()
