"""PyTorch's side of the parity check: the parts of `parity_jax.py` under the same names.

Every part starts from the package's results of earlier parts, and returns arrays in the package's
layout and under its names.
"""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exits_jax.pseudo_labels.settings import LossSettings
from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison import torch_retrieval as retrieval
from experiments.framework_comparison.problem import (
    ATTENTION_LAYERS,
    FORMS,
    KEY_LAYERS,
    OBJECTIVES,
    POINTS,
    RELUS,
    Arrays,
    Problem,
    load_problem,
)
from experiments.framework_comparison.torch_build import (
    batch_of,
    extractor_of,
    generator_of,
    objective_of,
    settings_of,
)
from experiments.framework_comparison.torch_generator import Generator
from experiments.framework_comparison.torch_labelling import label_from_logits
from experiments.framework_comparison.torch_losses import (
    crf_loss,
    mean_field,
    mil_loss,
    point_loss,
)
from experiments.framework_comparison.torch_step import (
    Trainer,
    at_points,
    box_masks,
    soft_loss,
)
from experiments.framework_comparison.torch_vit import normalise
from experiments.framework_comparison.weights import to_flax

STEPS = 10
TEACHER_RATE = 0.9  # so that within these steps the teacher moves by more than rounding

Results = dict[str, Any]


@torch.inference_mode()
def features(problem: Problem, given: Results) -> Results:
    """Tokens after every layer, and the final features."""
    network, tokens = extractor_of(problem), {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            tokens[f"tokens/layer{layer:02d}"] = output[0]

        return hook

    for layer, block in enumerate(network.blocks, start=1):
        block.register_forward_hook(keep(layer))
    final, _ = network(_clean_image(problem))
    return {**tokens, "final": final.permute(0, 2, 3, 1)}


@torch.inference_mode()
def maps(problem: Problem, given: Results) -> Results:
    """Attention and keys of some layers."""
    _, out = extractor_of(problem)(
        _clean_image(problem),
        attention_layers=ATTENTION_LAYERS,
        key_layers=KEY_LAYERS,
        features=False,
    )
    return {f"{kind}/layer{n:02d}": out[kind][n] for kind in sorted(out) for n in sorted(out[kind])}


@torch.inference_mode()
def transition(problem: Problem, given: Results) -> Results:
    """Similarity, T, and its kernels."""
    results: Results = {}
    for source in ("attention", "keys"):
        settings, similarity = settings_of(problem, source), _similarity(problem, given, source)
        results[f"{source}/similarity"] = similarity
        results[f"{source}/T"] = retrieval.transition_matrix(
            similarity, iterations=settings.sinkhorn_iterations, symmetric=settings.symmetric
        )
    walk, settings = results["attention/T"], settings_of(problem, "attention")
    results["power kernel"] = retrieval.power_kernel(walk, settings.hops)
    results["absorbing kernel"] = retrieval.absorbing_kernel(walk, settings.beta)
    return results


@torch.inference_mode()
def scores(problem: Problem, given: Results) -> Results:
    """Scores in every form, from the same attention and keys."""
    batch, results = batch_of(problem), {}
    for name, settings in _score_settings(problem).items():
        found = retrieval.propagation_score(
            _similarity(problem, given, settings.source),
            *(batch[key] for key in ("points_xy", "has_points", "box_xyxy", "valid_xyxy")),
            grid=problem.grid,
            settings=settings,
        )
        results[name] = found.score
        points = retrieval.retrieve_points(found, tau_fg=settings.tau_fg, tau_bg=settings.tau_bg)
        results |= {f"{name}/{part}": value for part, value in zip(POINTS, points, strict=True)}
    return results


@torch.inference_mode()
def scores_from_pixels(problem: Problem, given: Results) -> Results:
    """Scores of the two settings, each framework all the way by itself."""
    network, batch, pixels = extractor_of(problem), batch_of(problem), problem.spec["pixels"]
    return {
        source: retrieval.crop_scores(network, batch, settings_of(problem, source), pixels).score
        for source in ("attention", "keys")
    }


@torch.inference_mode()
def generator(problem: Problem, given: Results) -> Results:
    """Logits from the same features, which ReLUs of the decoder are on, and logits from pixels."""
    network, active = generator_of(problem), {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
            active[f"{name} above 0"] = output.permute(0, 2, 3, 1) > 0

        return hook

    hooks = [
        getattr(network.decoder.pixel, name).register_forward_hook(keep(name)) for name in RELUS
    ]
    decoded = network.decoder(torch.from_numpy(given["features:final"]).permute(0, 3, 1, 2))
    for hook in hooks:
        hook.remove()
    return {"decoder": decoded, **active, "logits": network(_clean_image(problem))}


@torch.inference_mode()
def score_maps(problem: Problem, given: Results) -> Results:
    """What is done with a map: shape offset, resampling, the prior."""
    batch, logits = batch_of(problem), torch.from_numpy(given["generator:logits"])
    known = (batch[name] for name in ("points_xy", "has_points", "box_xyxy", "valid_xyxy"))
    windows = (batch[name] for name in ("canonical_window", "window_xyxy", "flip"))
    score, grid = torch.from_numpy(given["scores:keys"]), problem.grid
    return {
        "shape offset": retrieval.shape_offset(logits, *known),
        "resampled": retrieval.resample_score(batch["canonical_score"], *windows, grid=grid),
        "prior": retrieval.prior_logits(score, logits.shape[-1], 1.0),
    }


@torch.inference_mode()
def losses(problem: Problem, given: Results) -> Results:
    """Every loss on the same logits and points."""
    batch, logits = batch_of(problem), torch.from_numpy(given["generator:logits"])
    side, settings = logits.shape[-1], LossSettings(**problem.spec["losses"]["paper"])
    labels, weights, score = (
        torch.from_numpy(given[f"scores:keys{part}"]) for part in ("/labels", "/weights", "")
    )
    at_cells = at_points(logits, problem.grid)
    box = box_masks(batch["box_xyxy"], batch["valid_xyxy"], side)
    valid = box_masks(batch["valid_xyxy"], batch["valid_xyxy"], side)
    probability = logits.sigmoid()
    small = F.interpolate(_clean_image(problem), (side, side), mode="bilinear", antialias=True)
    refined = mean_field(
        probability, small, box, sweeps=settings.crf_sweeps, sigma=settings.crf_sigma, valid=valid
    )
    return {
        "at points": at_cells,
        "small image": small.permute(0, 2, 3, 1),
        "point": point_loss(at_cells, labels, weights),
        "point, balanced": point_loss(at_cells, labels, weights, balanced=True),
        "mil": mil_loss(probability, box, valid=valid),
        "mean field": refined,
        "crf": crf_loss(probability * box, refined),
        "soft": soft_loss(at_cells, score, batch),
    }


def gradients(problem: Problem, given: Results) -> Results:
    """Loss parts and gradients of the warm-up's, the paper's and the residual's objective."""
    results: Results = {}
    for name in OBJECTIVES:
        objective = objective_of(problem, name)
        losses, parts = objective(batch_of(problem))
        losses.mean().backward()
        results |= {f"{name}/{part}": value for part, value in {"loss": losses, **parts}.items()}
        trained = objective.student.named_parameters()
        gradient = _flax((key, p.grad) for key, p in trained if p.requires_grad)
        results |= {f"{name}/d {key}": value for key, value in gradient.items()}
    return results


def steps(problem: Problem, given: Results) -> Results:
    """What ten steps change of the parameters, and the teacher then, by SGD and by AdamW."""
    results: Results = {}
    for name, sgd in (("paper", True), ("residual", True), ("paper", False)):
        objective = objective_of(problem, name)
        student, teacher = objective.student, objective.teacher
        start = _trained(student, student)
        trainer = Trainer(
            objective,
            problem.optimiser(name if sgd else None),
            teacher=teacher,
            teacher_rate=TEACHER_RATE,
        )
        for _ in range(STEPS):
            logs = trainer.step(batch_of(problem))
        prefix = f"{name}, {'SGD' if sgd else 'AdamW'}"
        results[f"{prefix}/last loss"] = logs["loss"]
        now = _trained(student, student)
        results |= {f"{prefix}/change of {key}": now[key] - start[key] for key in start}
        followed = _trained(teacher, student)
        results |= {f"{prefix}/teacher's {key}": array for key, array in followed.items()}
    return results


@torch.inference_mode()
def labelling(problem: Problem, given: Results) -> Results:
    """Masks in the photographs, from the same logits."""
    batch, results = problem.batch, {}
    for row in range(len(batch["image"])):
        height, width = (int(side) for side in batch["image_size"][row])
        rle = label_from_logits(
            torch.from_numpy(given["generator:logits"][row]),
            batch["window_xyxy"][row],
            batch["instance_box"][row],
            height,
            width,
        )
        results[f"mask {row}"] = np.frombuffer(rle["counts"], np.uint8)
    return results


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


def _clean_image(problem: Problem) -> Tensor:
    """The normalised crops."""
    return normalise(torch.from_numpy(problem.batch["image"]), problem.spec["pixels"])


def _score_settings(problem: Problem) -> dict[str, RetrievalSettings]:
    """The walks that are compared, by name."""
    forms = {f"attention {form}": settings_of(problem, "attention", form=form) for form in FORMS}
    ratio = settings_of(problem, "attention", decision="log_ratio", box_only="centre")
    return {**forms, "attention, log ratio": ratio, "keys": settings_of(problem, "keys")}


def _similarity(problem: Problem, given: Results, source: str) -> Tensor:
    """Similarity from the maps the package found."""
    out: dict[str, dict[int, Tensor]] = {"attention": {}, "keys": {}}
    for kind, layers in (("attention", ATTENTION_LAYERS), ("keys", KEY_LAYERS)):
        out[kind] = {n: torch.from_numpy(given[f"maps:{kind}/layer{n:02d}"]) for n in layers}
    return retrieval.similarity_matrix(
        out,
        class_token=problem.spec["vit"]["class_token"],
        settings=settings_of(problem, source),
    )


def _trained(network: Generator, student: Generator) -> Arrays:
    """Parameters of a network that its student trains, under Flax names."""
    pairs = zip(network.named_parameters(), student.parameters(), strict=True)
    return _flax((name, p.detach().clone()) for (name, p), own in pairs if own.requires_grad)


def _flax(tensors: Iterable[tuple[str, Tensor]]) -> Arrays:
    """Tensors by PyTorch's names -> arrays by Flax's."""
    return to_flax({name: tensor.numpy() for name, tensor in tensors})


def main() -> None:
    """Runs every part on the package's results and writes its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", required=True)
    parser.add_argument("--given", required=True, help="what parity_jax.py wrote")
    parser.add_argument("--out", required=True)
    parser.add_argument("--parts", nargs="*", default=[*PARTS])
    arguments = parser.parse_args()
    problem, results = load_problem(arguments.problem), {}
    with np.load(arguments.given) as file:
        given = {name: file[name] for name in file.files}
    for name in arguments.parts:
        found = PARTS[name](problem, given)
        results |= {
            f"{name}:{key}": np.asarray(value.detach() if torch.is_tensor(value) else value)
            for key, value in found.items()
        }
    np.savez(arguments.out, **results)


if __name__ == "__main__":
    main()
