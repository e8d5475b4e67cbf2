"""What every test shares: shapes checked, four faked devices, warnings as errors."""

import os
import pathlib


os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

import pytest
from jaxtyping import install_import_hook

install_import_hook("exits_jax", "beartype.beartype")

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def coco_mini() -> pathlib.Path:
    """The folder of the COCO subset, or a loud skip where it is not at hand."""
    for folder in (ROOT / "data" / "coco-mini", ROOT.parent / "shared" / "coco-mini"):
        if (folder / "annotations").is_dir():
            return folder
    reason = "no data/coco-mini here: tests on real COCO photographs are SKIPPED"

    pytest.skip(reason)
