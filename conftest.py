"""What every test shares: shapes checked, four faked devices, warnings as errors."""

import os
import pathlib
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

# LLVM without its optimisations: the same XLA graphs, compiled three times as fast.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Tests that run the program several times compile each of its networks once.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="exits_jax_tests_")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import pytest
from jaxtyping import install_import_hook

install_import_hook("exits_jax", "beartype.beartype")

ROOT = pathlib.Path(__file__).parent
MAPS, MOST_MAPS = pathlib.Path("/proc/self/maps"), 15_000


@pytest.fixture(autouse=True)
def programs_released():
    """A training step holds some 1,000 memory maps; past the kernel's 65,530 XLA crashes.

    As it compiles or as it loads what is in the persistent cache, wherever it happens to be.
    """
    yield
    jax = sys.modules.get("jax")  # there is none in the environment of `make interop`
    if jax and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def coco_mini() -> pathlib.Path:
    """The folder of the COCO subset, or a loud skip where it is not at hand."""
    for folder in (ROOT / "data" / "coco-mini", ROOT.parent / "shared" / "coco-mini"):
        if (folder / "annotations").is_dir():
            return folder
    reason = "no data/coco-mini here: tests on real COCO photographs are SKIPPED"

    pytest.skip(reason)
