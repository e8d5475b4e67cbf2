"""SOLOv2 over a ResNet and a feature pyramid, as a PyTorch module (Wang et al., 2020).

Written from the published facts alone, so that the package's network can be held against it.
Modules carry mmdetection's names, below `backbone.` torchvision's, so that a state dict reads like
a published file. Images and maps are NCHW.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exits_jax.segmentation.settings import SegmentationSettings

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RESNET50 = (3, 4, 6, 3)
STEM_WIDTH = 64  # whatever the stages' is
EXPANSION = 4  # of a bottleneck's last convolution
GROUPS = 32
OUTPUT_DEVIATION = 0.01  # of the weights of the two outputs
PRIOR = 0.01  # class probability that training starts from

# Channels -> a normalisation of them.
Norm = Callable[[int], nn.Module]


class Outputs(NamedTuple):
    """What the head says about a batch.

    Attributes:
      kernels: by level, [b,E,S,S].
      logits: of the classes by level, [b,C,S,S].
      features: mask features at stride 4, [b,E,H/4,W/4]; a cell's mask is the sigmoid of their
        product with its kernel.
    """

    kernels: list[Tensor]
    logits: list[Tensor]
    features: Tensor


def normalise(image: Tensor, extent: Tensor | None = None) -> Tensor:
    """uint8 [b,H,W,3] -> float32 [b,3,H,W], 0 (the mean) beyond each image's extent [b,2]."""
    mean, deviation = (image.new_tensor(row, dtype=torch.float32) for row in (MEAN, DEVIATION))
    x = ((image.float() - mean) / deviation).permute(0, 3, 1, 2)
    if extent is None:
        return x
    rows = torch.arange(x.shape[2], device=x.device) < extent[:, :1]
    columns = torch.arange(x.shape[3], device=x.device) < extent[:, 1:]
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], x, 0.0)


class SOLOv2(nn.Module):
    """The whole network, canvases to `Outputs`.

    Args:
      settings: widths, grids and the ResNet's norm.
      classes: how many.
      depths: bottlenecks of the ResNet's four stages.
      width: channels inside the bottlenecks of the first one.
      frozen_stages: 1: stem and first stage take no gradient; 0: everything learns.
    """

    def __init__(
        self,
        settings: SegmentationSettings,
        classes: int,
        *,
        depths: Sequence[int] = RESNET50,
        width: int = 64,
        frozen_stages: int = 1,
    ) -> None:
        super().__init__()
        norm = FrozenBatchNorm if settings.norm == "frozen" else group_norm
        self.backbone = ResNet(depths, width, norm)
        self.neck = FPN(self.backbone.widths, settings.neck_width)
        self.mask_head = Head(settings, classes)
        if frozen_stages:
            for part in (self.backbone.conv1, self.backbone.bn1, self.backbone.layer1):
                part.requires_grad_(False)

    def forward(self, image: Tensor, extent: Tensor | None = None) -> Outputs:
        """uint8 [b,H,W,3], H and W multiples of 32, and rows and columns covered, [b,2]."""
        pixels = normalise(image, extent).to(self.backbone.conv1.weight)
        return self.mask_head(self.neck(self.backbone(pixels)))


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm by the running statistics, whether in training or not."""

    def forward(self, x: Tensor) -> Tensor:
        """[b,c,h,w] -> the same."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, training=False, eps=self.eps)


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups, or as many as divide narrow layers' channels evenly."""
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


class ResNet(nn.Module):
    """torchvision's ResNet with bottlenecks, the stride on the 3x3 convolution."""

    def __init__(self, depths: Sequence[int], width: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(STEM_WIDTH)
        self.widths, channels = [], STEM_WIDTH
        for stage, depth in enumerate(depths):
            inner, blocks = width * 2**stage, nn.Sequential()
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(channels, inner, stride, norm))
                channels = EXPANSION * inner
            self.add_module(f"layer{stage + 1}", blocks)
            self.widths.append(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[b,3,H,W] -> C2 to C5, at strides 4 to 32."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        found = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            found.append(x)
        return found


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions round which the input is led past."""

    def __init__(self, channels: int, inner: int, stride: int, norm: Norm) -> None:
        super().__init__()
        outer = EXPANSION * inner
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = norm(outer)
        self.downsample = None
        if stride > 1 or channels != outer:
            shortcut = nn.Conv2d(channels, outer, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, norm(outer))

    def forward(self, x: Tensor) -> Tensor:
        """[b,c,h,w] -> [b,4 inner,h/stride,w/stride]."""
        past = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + past)


class Conv(nn.Module):
    """A convolution as `conv`, with `gn` and a ReLU behind it where it is normalised."""

    def __init__(self, channels: int, out: int, side: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, side, padding=side // 2, bias=not norm)
        self.gn = group_norm(out) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[b,c,h,w] -> [b,out,h,w]."""
        x = self.conv(x)
        return x if self.gn is None else F.relu(self.gn(x))


class FPN(nn.Module):
    """The feature pyramid: C2 to C5 -> P2 to P6 of one width (Lin et al., 2017)."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Conv(w, width, 1, norm=False) for w in widths)
        self.fpn_convs = nn.ModuleList(Conv(width, width, 3, norm=False) for _ in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse -> the same number and a subsampled last one."""
        sums = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for fine in range(len(sums) - 2, -1, -1):
            size = sums[fine].shape[-2:]
            sums[fine] = sums[fine] + F.interpolate(sums[fine + 1], size=size, mode="nearest")
        found = [conv(x) for conv, x in zip(self.fpn_convs, sums, strict=True)]
        return [*found, F.max_pool2d(found[-1], 1, stride=2)]


class Head(nn.Module):
    """Kernels, class logits and mask features from the pyramid."""

    def __init__(self, settings: SegmentationSettings, classes: int) -> None:
        super().__init__()
        width, self.grids = settings.head_width, settings.grids
        self.kernel_convs = _tower(settings.neck_width + 2, width, settings.head_depth)
        self.cls_convs = _tower(settings.neck_width, width, settings.head_depth)
        self.conv_kernel = nn.Conv2d(width, settings.kernel_width, 3, padding=1)
        self.conv_cls = nn.Conv2d(width, classes, 3, padding=1)
        self.mask_feature_head = MaskBranch(settings)
        for output in (self.conv_kernel, self.conv_cls):
            nn.init.normal_(output.weight, std=OUTPUT_DEVIATION)
            nn.init.zeros_(output.bias)
        nn.init.constant_(self.conv_cls.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, pyramid: Sequence[Tensor]) -> Outputs:
        """P2 to P6 -> `Outputs`; a grid fewer leaves out the coarsest level."""
        kernels, logits = [], []
        for grid, level in zip(self.grids, head_levels(pyramid), strict=False):
            # Coordinates are resized with the features, not made at the grid's size.
            x = resize(with_coordinates(level), (grid, grid))
            kernels.append(self.conv_kernel(self.kernel_convs(x)))
            logits.append(self.conv_cls(self.cls_convs(x[:, :-2])))
        return Outputs(kernels, logits, self.mask_feature_head(pyramid[:4]))


class MaskBranch(nn.Module):
    """P2 to P5, each brought to stride 4, summed and projected."""

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__()
        width, levels = settings.mask_width, []
        for level in range(4):
            branch = nn.Sequential()
            for number in range(max(level, 1)):
                channels = settings.neck_width + 2 * (level == 3) if number == 0 else width
                branch.add_module(f"conv{number}", Conv(channels, width, 3, norm=True))
                if level > 0:
                    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
                    branch.add_module(f"upsample{number}", up)
            levels.append(branch)
        self.convs_all_levels = nn.ModuleList(levels)
        self.conv_pred = Conv(width, settings.kernel_width, 1, norm=True)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """P2 to P5 -> [b,E,H/4,W/4]."""
        *fine, coarsest = pyramid
        inputs = (*fine, with_coordinates(coarsest))
        branches = zip(self.convs_all_levels, inputs, strict=True)
        return self.conv_pred(sum(branch(x) for branch, x in branches))


def head_levels(pyramid: Sequence[Tensor]) -> list[Tensor]:
    """P2 to P6 -> the head's levels, at strides 8, 8, 16, 32 and 32."""
    finest, *middle, last = pyramid
    return [resize(finest, middle[0].shape[-2:]), *middle, resize(last, middle[-1].shape[-2:])]


def with_coordinates(x: Tensor) -> Tensor:
    """[b,c,h,w] -> [b,c+2,h,w]: x, then y, each from -1 in the first cell to 1 in the last."""
    batch, _, height, width = x.shape
    across, down = (torch.linspace(-1, 1, side).to(x) for side in (width, height))
    shape = (batch, 1, height, width)
    return torch.cat([x, across.expand(shape), down[:, None].expand(shape)], dim=1)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, by the cells' centres, without antialiasing."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def _tower(channels: int, width: int, depth: int) -> nn.Sequential:
    inputs = [channels, *[width] * (depth - 1)]
    return nn.Sequential(*(Conv(count, width, 3, norm=True) for count in inputs))
