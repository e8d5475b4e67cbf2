"""One of stage 2's rows in one framework in a process of its own; the result goes to a JSON file.

Called by `stage2_speed.py`, by the interpreter of the framework's environment.
"""

import argparse
import importlib
import json
import pathlib
from types import ModuleType

from experiments.framework_comparison.rows import COLUMNS, Case
from experiments.framework_comparison.run_row import measure
from experiments.framework_comparison.stage2_scene import ROWS, make_scene


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--column", required=True, choices=COLUMNS)
    parser.add_argument("--row", required=True, choices=[*ROWS])
    for name in ("side", "batch", "instances"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    scene = make_scene(given.side, given.batch, given.instances, given.weights)

    def build(side: ModuleType) -> Case:
        framework = side.__name__.removesuffix("_side").rpartition(".")[2]
        rows = importlib.import_module(f"experiments.framework_comparison.stage2_{framework}")
        return getattr(rows, given.row)(scene)

    measured = measure(given.column, build, given.seconds)
    pathlib.Path(given.out).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
