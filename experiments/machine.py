"""What the numbers of a page depend on."""

import os
import pathlib
import platform
import re

import jax
import jaxlib


def machine() -> str:
    """Processor, cores and versions: what the numbers depend on, and nothing that names a host."""
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return (
        f"{processor()}, {os.cpu_count()} cores; devices: {len(jax.devices())} x {devices}; "
        f"Python {platform.python_version()}, jax {jax.__version__}, jaxlib {jaxlib.__version__}"
    )


def processor() -> str:
    """Its model, as the system names it."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return model.group(1) if model else platform.processor() or platform.machine()
