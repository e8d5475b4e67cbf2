"""The rows in PyTorch, eager or compiled, under the names that they have in `jax_rows.py`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison import torch_losses, torch_retrieval
from experiments.framework_comparison.problem import Problem
from experiments.framework_comparison.rows import (
    MATMUL_SIDE,
    PIPELINE_BATCHES,
    attention_example,
    keys_example,
    labelled,
    matrix_example,
    probability_example,
)
from experiments.framework_comparison.torch_build import (
    batch_of,
    extractor_of,
    generator_of,
    objective_of,
    settings_of,
)
from experiments.framework_comparison.torch_data import label_loader, train_loader
from experiments.framework_comparison.torch_labelling import label_from_logits
from experiments.framework_comparison.torch_step import Trainer, box_masks
from experiments.framework_comparison.torch_vit import normalise

# Given a function, the function to time: itself, or compiled.
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# float32 means float32 on accelerators, too: products are by default, convolutions are not.
torch.backends.cudnn.allow_tf32 = False


class Case(NamedTuple):
    """What is timed; the fields of `jax_rows.Case`."""

    run: Callable[[], Any]
    examples: int
    flops: None = None  # counted on JAX's side, for both


def matmul(problem: Problem, compile: Compile) -> Case:
    matrix = _place(torch.from_numpy(matrix_example(MATMUL_SIDE)))
    return _inference(compile(torch.matmul), (matrix, matrix.clone()), examples=1)


def extractor_attention(problem: Problem, compile: Compile) -> Case:
    return _extractor(problem, compile, attention_layers=settings_of(problem, "attention").layers)


def extractor_keys(problem: Problem, compile: Compile) -> Case:
    return _extractor(problem, compile, key_layers=settings_of(problem, "keys").layers)


def retrieval_kernel(problem: Problem, compile: Compile) -> Case:
    return _attention_retrieval(problem, compile, "kernel")


def retrieval_applied(problem: Problem, compile: Compile) -> Case:
    return _attention_retrieval(problem, compile, "applied")


def retrieval_absorbing(problem: Problem, compile: Compile) -> Case:
    return _attention_retrieval(problem, compile, "absorbing")


def retrieval_keys(problem: Problem, compile: Compile) -> Case:
    keys = {n: _place(torch.from_numpy(x)) for n, x in keys_example(problem).items()}
    return _retrieval(problem, compile, settings_of(problem, "keys"), {"keys": keys})


def mean_field(problem: Problem, compile: Compile) -> Case:
    settings, batch = problem.spec["losses"]["paper"], batch_of(problem, DEVICE)
    probability = _place(torch.from_numpy(probability_example(problem)))

    def run(probability: Tensor, image: Tensor, box: Tensor, valid: Tensor) -> Tensor:
        side = probability.shape[-1]
        clean = normalise(image, problem.spec["pixels"])
        return torch_losses.mean_field(
            probability,
            F.interpolate(clean, size=(side, side), mode="bilinear", antialias=True),
            box_masks(box, valid, side),
            sweeps=settings["crf_sweeps"],
            sigma=settings["crf_sigma"],
            valid=box_masks(valid, valid, side),
        )

    known = (batch[name] for name in ("image", "box_xyxy", "valid_xyxy"))
    return _inference(compile(run), (probability, *known), len(probability))


def generator(problem: Problem, compile: Compile) -> Case:
    forward, image = _generator(problem, compile), batch_of(problem, DEVICE)["image"]
    return _inference(forward, (image,), len(image))


def train_step(problem: Problem, compile: Compile) -> Case:
    return _step(problem, compile, "paper")


def train_step_residual(problem: Problem, compile: Compile) -> Case:
    return _step(problem, compile, "residual")


def warmup_step(problem: Problem, compile: Compile) -> Case:
    return _step(problem, compile, "warmup")


def labelling(problem: Problem, compile: Compile) -> Case:
    forward, count = _generator(problem, compile), len(problem.batch["image"])
    instances = [problem.spec["instances"][position] for position in labelled(problem)]
    loader = label_loader(instances, problem.spec["crop"])

    @torch.inference_mode()
    def run() -> list[dict]:
        labels, waiting = [], []
        for crops in loader:
            waiting += crops
            while len(waiting) >= count:
                batch, waiting = waiting[:count], waiting[count:]
                labels += label(batch)
        if waiting:  # a full batch, so that nothing is compiled again
            labels += label(waiting + waiting[-1:] * (count - len(waiting)))[: len(waiting)]
        return labels

    def label(batch: list[dict]) -> list[dict]:
        logits = forward(_place(torch.stack([crop["image"] for crop in batch]))).cpu()
        return [
            label_from_logits(row, crop["window"], crop["box"], *crop["size"])
            for row, crop in zip(logits, batch, strict=True)
        ]

    return Case(run, len(instances))


def input_pipeline(problem: Problem, compile: Compile) -> Case:
    count = len(problem.batch["image"])
    batches = iter(train_loader(problem.spec["instances"], problem.spec["crop"], count))
    return Case(lambda: [next(batches) for _ in range(PIPELINE_BATCHES)], PIPELINE_BATCHES * count)


def device() -> str:
    """What PyTorch runs on."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def versions() -> str:
    """Of PyTorch."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def peak_device_bytes() -> int:
    """The most memory the accelerator held."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0


def _place(tensor: Tensor) -> Tensor:
    return tensor.to(DEVICE)


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _inference(function: Callable[..., Any], arguments: tuple, examples: int) -> Case:
    """A function of tensors that lie on the device, without gradients."""

    @torch.inference_mode()
    def run() -> None:
        function(*arguments)
        _wait()

    return Case(run, examples)


def _generator(problem: Problem, compile: Compile) -> Callable[[Tensor], Tensor]:
    network, pixels = generator_of(problem, device=DEVICE).eval(), problem.spec["pixels"]
    return compile(lambda image: network(normalise(image, pixels)))


def _extractor(problem: Problem, compile: Compile, **asked: tuple[int, ...]) -> Case:
    network, pixels = extractor_of(problem, DEVICE).eval(), problem.spec["pixels"]
    image = batch_of(problem, DEVICE)["image"]

    def forward(image: Tensor) -> Any:
        return network(normalise(image, pixels), features=False, **asked)[1]

    return _inference(compile(forward), (image,), len(image))


def _attention_retrieval(problem: Problem, compile: Compile, form: str) -> Case:
    settings = settings_of(problem, "attention", form=form)
    attention = _place(torch.from_numpy(attention_example(problem)))
    maps = {"attention": dict.fromkeys(settings.layers, attention)}
    return _retrieval(problem, compile, settings, maps)


def _retrieval(
    problem: Problem, compile: Compile, settings: RetrievalSettings, maps: dict[str, Any]
) -> Case:
    batch = batch_of(problem, DEVICE)
    names = ("points_xy", "has_points", "box_xyxy", "valid_xyxy")

    def run(maps: Any, *known: Tensor) -> Any:
        similarity = torch_retrieval.similarity_matrix(
            maps, class_token=problem.spec["vit"]["class_token"], settings=settings
        )
        found = torch_retrieval.propagation_score(
            similarity, *known, grid=problem.grid, settings=settings
        )
        return torch_retrieval.retrieve_points(
            found, tau_fg=settings.tau_fg, tau_bg=settings.tau_bg
        )

    arguments = (maps, *(batch[name] for name in names))
    return _inference(compile(run), arguments, len(batch["image"]))


def _step(problem: Problem, compile: Compile, name: str) -> Case:
    objective = objective_of(problem, name, DEVICE)
    trainer = Trainer(
        objective,
        problem.optimiser(),
        teacher=objective.teacher,
        teacher_rate=problem.spec["teacher_rate"],
    )
    trainer.objective = compile(trainer.objective)

    def run() -> None:
        trainer.step(batch_of(problem, DEVICE))
        _wait()

    return Case(run, len(problem.batch["image"]))
