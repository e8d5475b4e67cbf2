"""The pretrained default backbone, for tests that need real features."""

import pytest

from exits_jax.models import backbones
from exits_jax.system.errors import UserError


def require_backbone() -> None:
    """Skips, saying how to get it, where the backbone's file is absent."""
    try:
        backbones.backbone_path(backbones.DEFAULT)
    except UserError as error:
        pytest.skip(f"SKIPPED, needs pretrained weights: {error}")
