"""The mask decoder and the generator of `exits_jax.models`, as PyTorch modules."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.framework_comparison.torch_vit import ViT


class Generator(nn.Module):
    """A ViT encoder and the mask decoder on it: crops -> mask logits."""

    def __init__(self, encoder: ViT) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = MaskDecoder(encoder.norm.normalized_shape[0])

    def forward(self, image: Tensor) -> Tensor:
        """Normalised crops [b,3,s,s] -> logits [b,m,m], m = 2 s / patch."""
        return self.decoder(self.encoder(image)[0])


class MaskDecoder(nn.Module):
    """Inner product of a pixel head and a prototype head, both D // 3 wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pixel = PixelHead(width, width // 3)
        self.prototype = PrototypeHead(width, width // 3)

    def forward(self, features: Tensor) -> Tensor:
        """[b,D,N,N] -> logits [b,2N,2N]."""
        return torch.einsum("bdij,bd->bij", self.pixel(features), self.prototype(features))


class PixelHead(nn.Module):
    """Four 3x3 convolutions with a bilinear x2 in the middle."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(channels, width, 3, padding=1) for channels in (features, *[width] * 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b,D,N,N] -> [b,width,2N,2N]."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        return self.conv4(F.relu(self.conv3(x)))


class PrototypeHead(nn.Module):
    """Average pool and two dense layers."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[b,D,N,N] -> [b,width]."""
        return self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3)))))
