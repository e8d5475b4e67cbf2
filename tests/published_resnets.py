"""Made-up checkpoints under the names that published ResNets have, written out by hand.

Names are those of the libraries' own modules, so that `models.rename_resnet` has something to be
compared with that was not made from it.
"""

import numpy as np

State = dict[str, np.ndarray]
DEPTHS, WIDTH = (3, 4, 6, 3), 1


class Arrays:
    """Random arrays, each another, by the name of a module of PyTorch's."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.state: State = {}

    def conv(self, name: str, out: int, into: int, side: int, bias: bool = False) -> None:
        self.add(f"{name}.weight", out, into, side, side)
        if bias:
            self.add(f"{name}.bias", out)

    def norm(self, name: str, width: int) -> None:
        """A group norm, or the learned part of a batch norm."""
        self.add(f"{name}.weight", width)
        self.add(f"{name}.bias", width)

    def batch_norm(self, name: str, width: int) -> None:
        self.norm(name, width)
        self.add(f"{name}.running_mean", width)
        self.add(f"{name}.running_var", width)
        self.state[f"{name}.num_batches_tracked"] = np.array(7, np.int64)

    def add(self, name: str, *shape: int) -> None:
        assert name not in self.state
        self.state[name] = self.random.normal(size=shape).astype(np.float32)


def torchvision(
    prefix: str = "",
    depths: tuple[int, ...] = DEPTHS,
    width: int = WIDTH,
    bottleneck: bool = True,
) -> Arrays:
    """The modules of a ResNet without fc; by default resnet50's, a 64th as wide."""
    made = Arrays()
    made.conv(f"{prefix}conv1", 64, 3, 7)
    made.batch_norm(f"{prefix}bn1", 64)
    into = 64
    for stage, depth in enumerate(depths, 1):
        inside = width * 2 ** (stage - 1)
        out = 4 * inside if bottleneck else inside
        for block in range(depth):
            name = f"{prefix}layer{stage}.{block}"
            made.conv(f"{name}.conv1", inside, into, 1 if bottleneck else 3)
            made.batch_norm(f"{name}.bn1", inside)
            made.conv(f"{name}.conv2", inside, inside, 3)
            made.batch_norm(f"{name}.bn2", inside)
            if bottleneck:
                made.conv(f"{name}.conv3", out, inside, 1)
                made.batch_norm(f"{name}.bn3", out)
            if into != out:
                made.conv(f"{name}.downsample.0", out, into, 1)
                made.batch_norm(f"{name}.downsample.1", out)
            into = out
    return made
