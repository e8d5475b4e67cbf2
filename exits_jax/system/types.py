"""Names for what is passed between rooms."""

from typing import Any

Params = dict[str, Any]  # of a network: arrays in nested dicts, as Flax has them
Batch = dict[str, Any]  # arrays by name, one row per item
