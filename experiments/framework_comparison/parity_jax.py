"""The package's side of the parity check: each part's results by name.

Every function takes the problem and what earlier parts gave, and has a counterpart of the same name
in `parity_torch.py`. Both sides start each part from *this* side's earlier results, so a difference
shows where it arises.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from exits_jax.annotations.regions import encode_in_image
from exits_jax.app.networks import attend
from exits_jax.losses import crf_loss, mean_field, mil_loss, point_loss
from exits_jax.models.convolution import Conv
from exits_jax.models.decoder import MaskDecoder
from exits_jax.models.generator import Generator
from exits_jax.models.layers import Block
from exits_jax.models.params_io import flatten
from exits_jax.pseudo_labels.objectives import (
    LossSettings,
    at_points,
    box_masks,
    soft_loss,
)
from exits_jax.pseudo_labels.paste import binary_mask, paste_probability
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.prior import prior_logits
from exits_jax.retrieval.propagation import absorbing_kernel, power_kernel, transition_matrix
from exits_jax.retrieval.resample import resample_score
from exits_jax.retrieval.score import propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.retrieval.shape import shape_offset
from exits_jax.training.state import init_state
from exits_jax.training.step import Objective, make_step
from exits_jax.training.task import count_rows, over_rows
from experiments.framework_comparison.jax_build import (
    clean_image,
    objective_of,
    optimiser_of,
    settings_of,
    vit_of,
)
from experiments.framework_comparison.prepare import flax_params
from experiments.framework_comparison.problem import (
    ATTENTION_LAYERS,
    FORMS,
    KEY_LAYERS,
    OBJECTIVES,
    POINTS,
    RELUS,
    Problem,
    load_problem,
)

STEPS = 10
TEACHER_RATE = 0.9  # so that within these steps the teacher moves by more than rounding

Results = dict[str, Any]


def features(problem: Problem, given: Results) -> Results:
    """Tokens after every layer, and the final features."""
    network, params = vit_of(problem), flax_params(problem.extractor)

    @jax.jit
    def run(params: Any, image: jax.Array) -> Any:
        return network.apply(
            {"params": params},
            image,
            capture_intermediates=lambda module, _: isinstance(module, Block),
        )

    (final, _), state = run(params, clean_image(problem))
    layers = state["intermediates"]
    tokens = {
        f"tokens/layer{int(name.removeprefix('block')):02d}": layers[name]["__call__"][0][0]
        for name in sorted(layers)
    }
    return {**tokens, "final": final}


def maps(problem: Problem, given: Results) -> Results:
    """Attention and keys of some layers."""
    run = jax.jit(attend(vit_of(problem), problem.spec["pixels"]), static_argnames=_LAYERS)
    out = run(
        flax_params(problem.extractor),
        problem.batch["image"],
        attention_layers=ATTENTION_LAYERS,
        key_layers=KEY_LAYERS,
    )
    return {f"{kind}/layer{n:02d}": out[kind][n] for kind in sorted(out) for n in sorted(out[kind])}


_LAYERS = ("attention_layers", "key_layers")


def transition(problem: Problem, given: Results) -> Results:
    """Similarity, T, and its kernels."""
    results: Results = {}
    for source in ("attention", "keys"):
        similarity = _similarity(problem, given, source)
        results[f"{source}/similarity"] = similarity
        results[f"{source}/T"] = transition_matrix(similarity)
    walk = results["attention/T"]
    settings = settings_of(problem, "attention")
    results["power kernel"] = power_kernel(walk, settings.hops)
    results["absorbing kernel"] = absorbing_kernel(walk, settings.beta)
    return results


def scores(problem: Problem, given: Results) -> Results:
    """Scores in every form, from the same attention and keys."""
    results: Results = {}
    for name, settings in _score_settings(problem).items():
        found = propagation_score(
            _similarity(problem, given, settings.source),
            *(problem.batch[key] for key in ("points_xy", "has_points", "box_xyxy", "valid_xyxy")),
            grid=problem.grid,
            settings=settings,
        )
        results[name] = found.score
        points = retrieve_points(
            found.score,
            found.inside_box,
            found.foreground,
            found.background,
            tau_fg=settings.tau_fg,
            tau_bg=settings.tau_bg,
        )
        results |= {f"{name}/{part}": value for part, value in zip(POINTS, points, strict=True)}
    return results


def scores_from_pixels(problem: Problem, given: Results) -> Results:
    """Scores of the two settings, each framework all the way by itself."""
    network, params = vit_of(problem), flax_params(problem.extractor)
    return {
        source: jax.jit(
            crop_scores(
                attend(network, problem.spec["pixels"]),
                depth=network.depth,
                class_token=network.class_token,
                grid=problem.grid,
                settings=settings_of(problem, source),
            )
        )(params, problem.batch).score
        for source in ("attention", "keys")
    }


def generator(problem: Problem, given: Results) -> Results:
    """Logits from the same features, which ReLUs of the decoder are on, and logits from pixels."""
    network, params = Generator(vit_of(problem)), flax_params(problem.generator)

    @jax.jit
    def decode(params: Any, features: jax.Array) -> Any:
        return MaskDecoder(network.encoder.width).apply(
            {"params": params},
            features,
            capture_intermediates=lambda module, _: isinstance(module, Conv),
        )

    logits, state = decode(params["decoder"], given["features:final"])
    before = state["intermediates"]["pixel"]
    return {
        "decoder": logits,
        **{f"{name} above 0": before[name]["__call__"][0] > 0 for name in RELUS},
        "logits": jax.jit(network.apply)({"params": params}, clean_image(problem)),
    }


def score_maps(problem: Problem, given: Results) -> Results:
    """What is done with a map: shape offset, resampling, the prior."""
    batch = problem.batch
    logits = given["generator:logits"]
    known = (batch[name] for name in ("points_xy", "has_points", "box_xyxy", "valid_xyxy"))
    windows = (batch[name] for name in ("canonical_window", "window_xyxy", "flip"))
    return {
        "shape offset": shape_offset(logits, *known),
        "resampled": resample_score(batch["canonical_score"], *windows, grid=problem.grid),
        "prior": prior_logits(given["scores:keys"], logits.shape[-1], 1.0),
    }


def losses(problem: Problem, given: Results) -> Results:
    """Every loss on the same logits and points."""
    batch, logits = problem.batch, jnp.asarray(given["generator:logits"])
    side, settings = logits.shape[-1], LossSettings(**problem.spec["losses"]["paper"])
    labels, weights = given["scores:keys/labels"], given["scores:keys/weights"]
    at_cells = at_points(logits, problem.grid)
    box = box_masks(batch["box_xyxy"], batch["valid_xyxy"], side)
    valid = box_masks(batch["valid_xyxy"], batch["valid_xyxy"], side)
    probability = jax.nn.sigmoid(logits)
    small = jax.image.resize(clean_image(problem), (len(logits), side, side, 3), "linear")
    refined = mean_field(
        probability, small, box, sweeps=settings.crf_sweeps, sigma=settings.crf_sigma, valid=valid
    )
    return {
        "at points": at_cells,
        "small image": small,
        "point": point_loss(at_cells, labels, weights),
        "point, balanced": point_loss(at_cells, labels, weights, balanced=True),
        "mil": mil_loss(probability, box, valid=valid),
        "mean field": refined,
        "crf": crf_loss(probability * box, refined),
        "soft": soft_loss(at_cells, jnp.asarray(given["scores:keys"]), batch),
    }


def gradients(problem: Problem, given: Results) -> Results:
    """Loss parts and gradients of the warm-up's, the paper's and the residual's objective."""
    results: Results = {}
    for name in OBJECTIVES:
        objective, trained, frozen = objective_of(problem, name)

        @jax.jit
        def run(params: Any, frozen: Any, batch: Any, objective: Objective = objective) -> Any:
            def mean(params: Any) -> Any:
                losses, parts = objective(params, params, frozen, batch)
                return losses.mean(), {"loss": losses, **parts}

            return jax.grad(mean, has_aux=True)(params)

        gradient, parts = run(trained, frozen, problem.batch)
        results |= {f"{name}/{part}": value for part, value in parts.items()}
        results |= {f"{name}/d {key}": value for key, value in flatten(gradient).items()}
    return results


def steps(problem: Problem, given: Results) -> Results:
    """What ten steps change of the parameters, and the teacher then, by SGD and by AdamW."""
    results: Results = {}
    for name, sgd in (("paper", True), ("residual", True), ("paper", False)):
        objective, trained, frozen = objective_of(problem, name)
        settings = problem.optimiser(name if sgd else None)
        optimiser = optimiser_of(settings)
        step = jax.jit(
            make_step(over_rows(objective), count_rows, optimiser, teacher_rate=TEACHER_RATE)
        )
        state = init_state(trained, optimiser, teacher=True)
        for _ in range(STEPS):
            state, logs = step(state, frozen, problem.batch)
        prefix = f"{name}, {'SGD' if sgd else 'AdamW'}"
        results[f"{prefix}/last loss"] = logs["loss"]
        change = jax.tree.map(lambda new, old: new - old, state.params, trained)
        for kind, tree in (("change of", change), ("teacher's", state.teacher)):
            results |= {f"{prefix}/{kind} {key}": leaf for key, leaf in flatten(tree).items()}
    return results


def labelling(problem: Problem, given: Results) -> Results:
    """Masks in the photographs, from the same logits."""
    batch, results = problem.batch, {}
    for row in range(len(batch["image"])):
        height, width = (int(side) for side in batch["image_size"][row])
        patch, region = paste_probability(
            np.asarray(given["generator:logits"][row]),
            batch["window_xyxy"][row].astype(np.float64),
            height,
            width,
        )
        probability = 1 / (1 + np.exp(-np.clip(patch, -30, 30)))
        mask, _ = binary_mask(probability, region, batch["instance_box"][row], height, width)
        counts = encode_in_image(mask, region, height, width)["counts"]
        results[f"mask {row}"] = np.frombuffer(counts.encode("ascii"), np.uint8)
    return results


# In the order they run in; the name is the prefix of the results.
PARTS: dict[str, Callable[[Problem, Results], Results]] = {
    part.__name__: part
    for part in (
        features,
        maps,
        transition,
        scores,
        scores_from_pixels,
        generator,
        score_maps,
        losses,
        gradients,
        steps,
        labelling,
    )
}


def _score_settings(problem: Problem) -> dict[str, RetrievalSettings]:
    """The walks that are compared, by name."""
    forms = {f"attention {form}": settings_of(problem, "attention", form=form) for form in FORMS}
    ratio = settings_of(problem, "attention", decision="log_ratio", box_only="centre")
    return {**forms, "attention, log ratio": ratio, "keys": settings_of(problem, "keys")}


def _similarity(problem: Problem, given: Results, source: str) -> jax.Array:
    """Similarity from the maps this side found."""
    out: dict[str, dict[int, Any]] = {"attention": {}, "keys": {}}
    for kind, layers in (("attention", ATTENTION_LAYERS), ("keys", KEY_LAYERS)):
        out[kind] = {layer: given[f"maps:{kind}/layer{layer:02d}"] for layer in layers}
    return similarity_matrix(
        out,
        class_token=problem.spec["vit"]["class_token"],
        settings=settings_of(problem, source),
    )


def main() -> None:
    """Runs every part and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--parts", nargs="*", default=[*PARTS])
    given = parser.parse_args()
    problem, results = load_problem(given.problem), {}
    for name in given.parts:
        found = PARTS[name](problem, results)
        results |= {f"{name}:{key}": np.asarray(value) for key, value in found.items()}
    np.savez(given.out, **results)


if __name__ == "__main__":
    main()
