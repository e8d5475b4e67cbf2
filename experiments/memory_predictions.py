"""How much memory predictions take, for few and for many images.

    python -m experiments.memory_predictions

predicts 500 and 5,000 small synthetic pictures with the real program and a fresh narrow network,
twenty detections in each. Every run is a process of its own, whose peak of resident memory the
operating system tells. Writes experiments/results/memory_predictions.md.
"""

import pathlib
import tempfile

from absl import app, flags

from configs import solov2_scenes
from exits_jax.app.settings import read_settings
from exits_jax.evaluation.tables import markdown
from exits_jax.models.params_io import save_params
from exits_jax.segmentation.build import build_segmenter, initial_params
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.trained import made_with
from exits_jax.system.files import write_bytes
from experiments.machine import machine
from experiments.memory import measured
from experiments.synthetic import PER_IMAGE, write_synthetic

RESULT = pathlib.Path(__file__).parent / "results" / "memory_predictions.md"
IMAGES = flags.DEFINE_multi_integer("images", [500, 5_000], "how many images each run predicts")
REPORT = flags.DEFINE_string("report", str(RESULT), "where the table goes")
EVERYTHING = {"score_floor": 0, "min_score": 0.0001, "candidates": 100, "max_detections": 20}


def write_model(path: pathlib.Path) -> None:
    """A network that knows nothing, on canvases of 64 pixels."""
    config = solov2_scenes.get_config()
    config.segmentation.update(canvases=((64, 64),), grids=(12, 8, 6, 4, 3))
    settings, classes = read_settings(config).segmentation, Classes((1,), ("object",))
    params = initial_params(settings, build_segmenter(settings, len(classes)), seed=0)
    save_params(path, params, made_with(settings, classes))


def predicting(folder: pathlib.Path, model: pathlib.Path, count: int) -> tuple[float, float, float]:
    """Seconds, peak gigabytes and the size of predictions.json in megabytes for so many images."""
    pictures = write_synthetic(folder / f"{count}", PER_IMAGE * count).parent
    workdir = folder / f"run_{count}"
    settings = [f"--config.segmentation.{key}={value}" for key, value in EVERYTHING.items()]
    command = ["main.py", "predict", str(pictures), f"--params={model}", f"--workdir={workdir}"]
    seconds, peak = measured([*command, *settings])
    return seconds, peak, (workdir / "predictions.json").stat().st_size / 1e6


def main(argv: list[str]) -> None:
    """Measures, prints and writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    rows, peaks = [["images", "time, s", "predictions.json, MB", "peak memory, GB"]], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_model(folder / "model.safetensors")
        for count in IMAGES.value:
            seconds, peak, size = predicting(folder, folder / "model.safetensors", count)
            peaks.append(peak)
            rows.append([f"{count:,}", f"{seconds:.0f}", f"{size:.0f}", f"{peak:.2f}"])
            print(rows[-1], flush=True)
    ratio = f"{peaks[-1] / peaks[0]:.2f}"
    page = PAGE.format(table=markdown(rows), ratio=ratio, machine=machine())
    print(page)
    write_bytes(REPORT.value, page.encode())


PAGE = """\
# Memory of predictions

Synthetic pictures of 48 pixels in a bare folder, a fresh narrow network, one process.

{table}
The peak grows by the factor **{ratio}** from the fewest to the most images: masks go to disk part
by part and are merged row by row.

Command: `python -m experiments.memory_predictions`, on {machine}.
"""


if __name__ == "__main__":
    app.run(main)
