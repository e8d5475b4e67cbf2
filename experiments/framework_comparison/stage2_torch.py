"""Stage 2's timed rows in PyTorch, and the weights that both sides take."""

import argparse
import math

import numpy as np
import torch
from torch import Tensor, nn

from experiments.framework_comparison.rows import Case
from experiments.framework_comparison.stage2_scene import CLASSES, RATE, Scene, make_scene
from experiments.framework_comparison.torch_side import DEVICE, compiled, place, wait
from experiments.framework_comparison.torch_solov2 import Outputs, SOLOv2
from experiments.framework_comparison.torch_solov2_detect import detect, peaks
from experiments.framework_comparison.torch_solov2_targets import image_targets, loss_terms

INSTANCE = ("masks", "classes", "centre_xy", "size_wh", "area")


def train_step(scene: Scene) -> Case:
    """Steps of SGD, each from arrays on the host."""
    network, settings = _network(scene).train(), scene.settings
    forward = compiled(network)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    how = {"momentum": settings.momentum, "weight_decay": settings.weight_decay}
    optimiser = torch.optim.SGD(learnt, lr=RATE, fused=True, **how)
    canvas = scene.batch["image"].shape[1:3]

    def run() -> None:
        instances = [
            {name: scene.batch[name][image] for name in INSTANCE}
            for image in range(len(scene.batch["image"]))
        ]
        targets = [image_targets(one, canvas, settings) for one in instances]
        optimiser.zero_grad(set_to_none=True)
        outputs = forward(*(place(scene.batch[name]) for name in ("image", "extent")))
        loss = loss_terms(outputs, targets, instances).loss(settings)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(learnt, settings.clip_norm)
        if loss.isfinite() & norm.isfinite():
            optimiser.step()
        wait()

    return Case(run, len(scene.batch["image"]))


def prediction(scene: Scene) -> Case:
    """Images to detections, from arrays on the host."""
    forward = compiled(_network(scene).eval())

    @torch.inference_mode()
    def run() -> None:
        outputs = forward(*(place(scene.batch[name]) for name in ("image", "extent")))
        for image in range(len(scene.batch["image"])):
            detect(outputs, image, scene.settings)
        wait()

    return Case(run, len(scene.batch["image"]))


def _network(scene: Scene) -> SOLOv2:
    """With its weights, on the device."""
    network = SOLOv2(scene.settings, CLASSES)
    with np.load(scene.weights) as file:
        network.load_state_dict({name: torch.from_numpy(file[name]) for name in file.files})
    return network.to(DEVICE)  # channels_last takes 6 % more of a CPU's time, here


def write_weights(path: str, side: int, peaks_wanted: int, seed: int = 0) -> None:
    """Random weights with which a scene's first image has so many peaks of classes to look at."""
    torch.manual_seed(seed)
    scene = make_scene(side, 1, 1, path)
    network = SOLOv2(scene.settings, CLASSES)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.2)  # so that activations do not grow with depth
    nn.init.normal_(network.mask_head.conv_kernel.weight, std=0.02)
    with torch.inference_mode():
        outputs = network(*(torch.from_numpy(scene.batch[name]) for name in ("image", "extent")))
        threshold = _lowest(outputs, peaks_wanted)
        floor = scene.settings.score_floor
        network.mask_head.conv_cls.bias += math.log(floor / (1 - floor)) - threshold
    np.savez(path, **{name: tensor.numpy() for name, tensor in network.state_dict().items()})


def _lowest(outputs: Outputs, count: int) -> float:
    """The lowest of the `count` largest logits that are peaks."""

    def at_peaks(logits: Tensor) -> Tensor:
        return logits[peaks(logits.sigmoid()) > 0]

    every = torch.cat([at_peaks(level[0]) for level in outputs.logits])
    return float(every.topk(count).values[-1])


def main() -> None:
    """Writes the weights."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--peaks", type=int, required=True)
    given = parser.parse_args()
    write_weights(given.out, given.side, given.peaks)


if __name__ == "__main__":
    main()
