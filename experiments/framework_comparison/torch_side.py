"""PyTorch's side: what `parts` and `rows` call, under the names that it has in `jax_side`."""
# ruff: noqa: F401 - some are called on this module under the package's names

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison import torch_retrieval as retrieval
from experiments.framework_comparison import torch_step
from experiments.framework_comparison.problem import (
    BACKBONE,
    OBJECTIVES,
    PATCH,
    TRAINING,
    Problem,
    frozen_blocks,
    vit_shape,
)
from experiments.framework_comparison.rows import Case
from experiments.framework_comparison.torch_data import label_loader, train_loader
from experiments.framework_comparison.torch_generator import Generator
from experiments.framework_comparison.torch_labelling import run_lengths
from experiments.framework_comparison.torch_losses import (
    crf_loss,
    mean_field,
    mil_loss,
    point_loss,
)
from experiments.framework_comparison.torch_retrieval import (
    absorbing_kernel,
    power_kernel,
    prior_logits,
    propagation_score,
    resample_score,
    retrieve_points,
    shape_offset,
    similarity_matrix,
    transition_matrix,
)
from experiments.framework_comparison.torch_step import (
    at_points,
    box_masks,
    small_image,
    soft_loss,
)
from experiments.framework_comparison.torch_vit import Maps, ViT, normalise
from experiments.framework_comparison.weights import to_flax, to_torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# float32 means float32 on accelerators, too: products are by default, convolutions are not.
torch.backends.cudnn.allow_tf32 = False

Trained = dict[str, np.ndarray]
sigmoid = torch.sigmoid
_compile: list[Callable[[Any], Any]] = []


def set_up(column: str) -> None:
    """Before anything is timed: whether cases are compiled."""
    if column == "torch.compile":
        _compile.append(torch.compile)


def place(tree: Any) -> Any:
    """Arrays in dicts and tuples -> tensors on the device."""
    if isinstance(tree, dict):
        return {name: place(leaf) for name, leaf in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map(place, tree))
    return torch.from_numpy(tree).to(DEVICE)


def batch_of(problem: Problem) -> dict[str, Tensor]:
    """The batch as tensors."""
    return place(problem.batch)


def channels_last(image: Tensor) -> Tensor:
    """[b,c,h,w] -> [b,h,w,c]."""
    return image.permute(0, 2, 3, 1)


def tokens(problem: Problem) -> list[Tensor]:
    """After every layer, and the final features."""
    network = _extractor(problem)
    layers = _outputs(network.blocks)
    final, _ = network(_image(problem))
    return [*(output[0] for output in layers), channels_last(final)]


def maps(problem: Problem, **asked: tuple[int, ...]) -> Maps:
    """Attention and keys."""
    return _extractor(problem)(_image(problem), features=False, **asked)[1]


def crop_scores(problem: Problem, settings: RetrievalSettings) -> retrieval.Scores:
    """From pixels."""
    return _scores_of(problem, settings)(batch_of(problem))


@torch.inference_mode()
def decoded(problem: Problem, features: Tensor) -> list[Tensor]:
    """Logits, and what goes into the ReLUs of the pixel head."""
    decoder = _generator(problem).decoder
    before = _outputs([decoder.pixel.conv1, decoder.pixel.conv2, decoder.pixel.conv3])
    return [decoder(features.permute(0, 3, 1, 2)), *map(channels_last, before)]


@torch.inference_mode()
def logits(problem: Problem) -> Tensor:
    """The generator's, from pixels."""
    return _generator(problem)(_image(problem))


def gradients(problem: Problem, name: str) -> tuple[dict[str, Tensor], Trained]:
    """Loss and its parts [b], and the gradient of the mean loss by flat names."""
    objective = objective_of(problem, name)
    losses, parts = objective(batch_of(problem))
    losses.mean().backward()
    parts = {name: value.detach() for name, value in {"loss": losses, **parts}.items()}
    named = objective.student.named_parameters()
    return parts, to_flax({key: p.grad.numpy() for key, p in named if p.requires_grad})


def trained(
    problem: Problem, name: str, steps: int, rate: float, teacher_rate: float, *, sgd: bool
) -> tuple[Trained, Trained, Trained, Tensor]:
    """Parameters before and after some steps, the teacher's, and the last loss."""
    objective = objective_of(problem, name)

    def those_of(network: Generator) -> Trained:
        pairs = zip(network.named_parameters(), objective.student.parameters(), strict=True)
        learnt = {key: p for (key, p), own in pairs if own.requires_grad}
        return to_flax({key: p.detach().clone().numpy() for key, p in learnt.items()})

    start = those_of(objective.student)
    trainer = torch_step.Trainer(objective, rate, teacher_rate, sgd)
    for _ in range(steps):
        logs = trainer.step(batch_of(problem))
    return start, those_of(objective.student), those_of(objective.teacher), logs["loss"]


def objective_of(problem: Problem, name: str) -> torch_step.Objective:
    """One of `OBJECTIVES` over a student and its teacher."""
    losses, settings, _, prior = OBJECTIVES[name]
    if name == "warmup":
        supervise = torch_step.supervise_seeds(problem.grid, settings.delta_share)
    elif name == "residual":
        supervise = torch_step.supervise_once(problem.grid, settings)
    else:
        supervise = torch_step.supervise_online(_scores_of(problem, settings), settings)
    return torch_step.Objective(_generator(problem, name), supervise, losses, prior)


def inference(function: Callable[..., Any], arguments: Sequence[Any], examples: int) -> Case:
    """A function of arrays that lie on the device, without gradients."""
    forward, placed = compiled(function), place(tuple(arguments))

    @torch.inference_mode()
    def run() -> None:
        forward(*placed)
        wait()

    return Case(run, examples)


def extractor_case(problem: Problem, **asked: tuple[int, ...]) -> Case:
    """The extractor up to the maps asked for."""
    network = _extractor(problem).eval()

    def forward(image: Tensor) -> Maps:
        return network(normalise(image), features=False, **asked)[1]

    return inference(forward, (problem.batch["image"],), problem.count)


def generator_case(problem: Problem) -> Case:
    """The generator from pixels to logits."""
    return inference(_forward(problem), (problem.batch["image"],), problem.count)


def step_case(problem: Problem, name: str) -> Case:
    """Training steps, each from arrays on the host."""
    objective, rate = objective_of(problem, name), problem.rate("paper, AdamW")
    trainer = torch_step.Trainer(objective, rate, TRAINING.teacher_rate)
    trainer.objective = compiled(trainer.objective)

    def run() -> None:
        trainer.step(batch_of(problem))
        wait()

    return Case(run, problem.count)


def labeller(problem: Problem, chosen: Sequence[int]) -> Callable[[], list[bytes]]:
    """Labels some of the demo's instances, from files to run lengths."""
    forward, count = compiled(_forward(problem)), problem.count
    loader = label_loader([problem.instances[position] for position in chosen], problem.crop)

    def label(batch: list[dict]) -> list[bytes]:
        logits = forward(torch.stack([crop["image"] for crop in batch]).to(DEVICE)).cpu()
        pairs = zip(logits, batch, strict=True)
        return [run_lengths(row, crop["window"], crop["box"], crop["size"]) for row, crop in pairs]

    @torch.inference_mode()
    def run() -> list[bytes]:
        labels, waiting = [], []
        for crops in loader:
            waiting += crops
            while len(waiting) >= count:
                batch, waiting = waiting[:count], waiting[count:]
                labels += label(batch)
        if waiting:  # a full batch, so that nothing is compiled again
            labels += label(waiting + waiting[-1:] * (count - len(waiting)))[: len(waiting)]
        return labels

    return run


def train_crops(problem: Problem) -> Iterator[dict[str, Any]]:
    """Batches of random crops."""
    return iter(train_loader(problem.instances, problem.crop, problem.count))


def device() -> str:
    """What PyTorch runs on."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def versions() -> str:
    """Of PyTorch."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def peak_device_bytes() -> int:
    """The most memory the accelerator held."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as the column has it."""
    return _compile[0](function) if _compile else function


def wait() -> None:
    """Until the device has done its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _image(problem: Problem) -> Tensor:
    return normalise(batch_of(problem)["image"])


def _outputs(modules: Sequence[torch.nn.Module]) -> list[Any]:
    """A list that modules' outputs are put into when they run."""
    seen: list[Any] = []
    for module in modules:
        module.register_forward_hook(lambda module, given, output: seen.append(output))
    return seen


def _vit(problem: Problem, frozen: int = 0) -> ViT:
    width, depth, heads = vit_shape(problem.size)
    return ViT(
        patch=PATCH,
        width=width,
        depth=depth,
        heads=heads,
        position_grid=BACKBONE.position_grid,
        frozen_blocks=frozen,
    )


def _with_params(network: torch.nn.Module, params: dict[str, np.ndarray]) -> Any:
    """Flat Flax parameters in a module on the device; every name has to fit."""
    arrays = to_torch(params)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.to(DEVICE, memory_format=torch.channels_last)


def _extractor(problem: Problem) -> ViT:
    """Frozen, with its parameters."""
    return _with_params(_vit(problem), problem.extractor).requires_grad_(False)


def _generator(problem: Problem, objective: str = "paper") -> Generator:
    """With its parameters, those frozen that an objective does not train."""
    frozen = frozen_blocks(vit_shape(problem.size)[1], OBJECTIVES[objective])
    return _with_params(Generator(_vit(problem, frozen)), problem.generator)


def _forward(problem: Problem) -> Callable[[Tensor], Tensor]:
    """Pixels -> the generator's logits."""
    network = _generator(problem).eval()
    return lambda image: network(normalise(image))


def _scores_of(problem: Problem, settings: RetrievalSettings) -> Callable[..., retrieval.Scores]:
    """Batch -> scores."""
    network = _extractor(problem)
    asked = {"attention": "attention_layers", "keys": "key_layers"}[settings.source]

    def scores_of(batch: retrieval.Batch) -> retrieval.Scores:
        image = normalise(batch["image"])
        _, found = network(image, features=False, **{asked: settings.layers})
        return propagation_score(similarity_matrix(found, settings=settings), batch, settings)

    return scores_of
