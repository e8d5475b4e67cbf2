"""How much memory and time large inputs take.

    python -m experiments.memory

labels 5,000 and 100,000 synthetic annotations with the real program, and reads, checks and merges
a file of the size of COCO's train2017 (860,000 annotations). Every step is a process of its own,
whose peak of resident memory the operating system tells. Writes experiments/results/memory.md.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from exits_jax.evaluation.tables import markdown
from exits_jax.system.files import write_bytes, write_json_rows
from experiments.machine import machine
from experiments.synthetic import write_synthetic

RESULT = pathlib.Path(__file__).parent / "results" / "memory.md"
FEW = flags.DEFINE_integer("few", 5_000, "annotations of the small labelling")
MANY = flags.DEFINE_integer("many", 100_000, "annotations of the large labelling")
COCO = flags.DEFINE_integer("coco", 860_000, "annotations of the file that is read and merged")
OUTPUT = flags.DEFINE_string("output", str(RESULT), "where the tables go")

ROOT = pathlib.Path(__file__).parents[1]
CORNERS = 24  # of a polygon of the large file: COCO's train2017 has 25 on average


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident gigabytes of a command; what it prints is passed on."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - started, usage.ru_maxrss * 1024 / 1e9


def labelling(folder: pathlib.Path, count: int) -> tuple[float, float]:
    """Labelling so many synthetic annotations."""
    file = write_synthetic(folder / f"{count}", count)
    return measured(
        [
            *("main.py", "--config=configs/synthetic.py", "--mode=label"),
            *(f"--workdir={folder / f'run_{count}'}", f"--config.data.annotations={file}"),
            *(f"--config.data.images={file.parent}", "--config.label.part_size=1024"),
        ]
    )


def write_large(path: pathlib.Path, count: int) -> None:
    """A file like COCO's train2017: polygons of 25 corners, seven to an image, row by row."""
    images = [
        {"id": k + 1, "file_name": f"{k:012d}.jpg", "width": 640, "height": 480}
        for k in range(-(-count // 7))
    ]
    categories = [{"id": k + 1, "name": f"category {k + 1}"} for k in range(80)]
    document = {"info": {}, "images": images, "categories": categories, "annotations": None}
    write_json_rows(path, map(_polygon_row, range(count)), document)


def _polygon_row(k: int) -> dict:
    """An annotation whose polygon is a comb over its box: every corner differs."""
    x, y, width, height = 10 + k % 500, 10 + k % 350, 60 + k % 50, 50 + k % 40
    steps = [round(width * j / CORNERS, 2) for j in range(CORNERS + 1)]
    upper = [[x + s, y + (height / 3) * (j % 2)] for j, s in enumerate(steps)]
    corners = [*upper, [x + width, y + height], [x, y + height]]
    area = abs(
        sum(
            a[0] * b[1] - b[0] * a[1]
            for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
        )
    )
    return {
        "id": k + 1,
        "image_id": k // 7 + 1,
        "category_id": k % 80 + 1,
        "bbox": [x, y, width, height],
        "area": round(area / 2, 2),
        "iscrowd": 0,
        "segmentation": [[round(c, 2) for corner in corners for c in corner]],
    }


# Reads the file as labelling does, writes a box as every mask into parts, and merges the parts.
LOAD = "from exits_jax.annotations import read_annotations; read_annotations({file!r})"
MERGE = """
import pathlib
from exits_jax.annotations import read_annotations
from exits_jax.export.export import pseudo_label_rows, results
from exits_jax.export.parts import StoredRows, part_positions, write_part
from exits_jax.export.quality import Label, box_label
from exits_jax.system.files import write_json_rows
folder = pathlib.Path({folder!r})
data = read_annotations({file!r})
parts = part_positions(data.instances, 1024)
for number, places in enumerate(parts):
    write_part(folder / "parts", number, [box_label(data.instances[i]) for i in places])
labels = StoredRows(folder / "parts", len(parts), Label)
write_json_rows(folder / "results.json", results(labels, data.instances))
rows = pseudo_label_rows(data.document, labels, data.instances)
write_json_rows(folder / "labels.json", rows, data.document)
"""


def main(argv: list[str]) -> None:
    """Measures everything, prints and writes the tables."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    rows = [["what", "time", "peak memory, GB"]]
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for count in (FEW.value, MANY.value):
            seconds, peak = labelling(folder, count)
            peaks.append(peak)
            rows.append([f"label {count:,} annotations", _clock(seconds), f"{peak:.2f}"])
            print(rows[-1], flush=True)
        file = folder / "large.json"
        write_large(file, COCO.value)
        size = file.stat().st_size / 1e9
        place = {"file": str(file), "folder": str(folder)}
        for what, command in (
            ("read and check its structure", ["-c", LOAD.format(**place)]),
            ("`--mode=check`", ["main.py", "--mode=check", str(file)]),
            ("read, write parts, merge both label files", ["-c", MERGE.format(**place)]),
        ):
            seconds, peak = measured(command)
            rows.append([f"{COCO.value:,}: {what}", _clock(seconds), f"{peak:.2f}"])
            print(rows[-1], flush=True)
        written = json.loads((folder / "labels.json").read_bytes())["annotations"]
        if len(written) != COCO.value:
            raise SystemExit(f"{len(written)} annotations written")
    page = PAGE.format(
        table=markdown(rows),
        ratio=f"{peaks[1] / peaks[0]:.2f}",
        size=f"{size:.2f}",
        machine=machine(),
    )
    print(page)
    write_bytes(OUTPUT.value, page.encode())


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


PAGE = """\
# Memory and time of large inputs

Labelling: `configs/synthetic.py`, 20 annotations to a picture, one process. The large file is
{size} GB of COCO JSON with a polygon each.

{table}
Labelling's peak grows by the factor **{ratio}** from the small to the large file: what stays in
memory is the annotation file itself; masks go to disk part by part and are merged row by row.

Command: `python -m experiments.memory`, on {machine}.
"""


if __name__ == "__main__":
    app.run(main)
