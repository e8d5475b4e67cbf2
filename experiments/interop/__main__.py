"""Do other tools read the label files, and get the same masks back?

    make interop
    .venv-interop/bin/python -m experiments.interop --run=runs/mine --images=DIR

The first writes a label document that is awkward on purpose with the package's own writers, loads
it with pycocotools, lvis, supervision, FiftyOne and Datumaro, and compares every pixel. It writes
experiments/results/interop.md; the exit status is 1 where anything but what is known got lost. The
second prints the same table for the label files of a run.
"""

import importlib.metadata
import json
import pathlib
import platform
import shutil
import sys
import tempfile
import textwrap

from absl import app, flags, logging

from exits_jax.evaluation.tables import Rows, markdown
from exits_jax.system.files import write_bytes
from experiments.interop.compare import (
    EXPECTED,
    FIELDS,
    READS,
    REFUSED,
    Comparison,
    compare,
    surprises,
    trouble_outcome,
)
from experiments.interop.document import (
    FOLDERS,
    FORMS,
    IMAGE_NAMES,
    TROUBLES,
    Truth,
    folder_images,
    stated_documents,
    write_documents,
    write_folders,
)
from experiments.interop.folder_readers import FOLDER_READERS
from experiments.interop.readers import READERS

RESULTS = pathlib.Path(__file__).parent.parent / "results"
OUTPUT = flags.DEFINE_string("output", str(RESULTS), "folder of the page")
RUN = flags.DEFINE_string("run", "", "workdir whose label files to read instead; no page then")
IMAGES = flags.DEFINE_string("images", "", "with --run: the folder of its images")

TOOLS = list(dict.fromkeys(reader.tool for reader in READERS))
ALL_TOOLS = list(dict.fromkeys(reader.tool for reader in [*READERS, *FOLDER_READERS]))
WRITTEN = FORMS | {name: f"{folder}/" for name, folder in FOLDERS.items()}


def read_forms(
    folder: pathlib.Path, truths: dict[str, list[Truth]], images: list[str]
) -> dict[tuple[str, str], Comparison]:
    """Every tool on every file of ours in `folder` that it reads."""
    return {
        (reader.tool, reader.form): compare(
            truths[reader.form], images, reader.load(folder, FORMS[reader.form])
        )
        for reader in READERS
        if reader.form in truths
    }


def read_drawn() -> dict[tuple[str, str], Comparison]:
    """Every tool on the document that is awkward on purpose."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        return read_forms(folder, write_documents(folder), IMAGE_NAMES)


def read_folders() -> dict[tuple[str, str], Comparison]:
    """Every tool on the data sets and tasks that are made of the same document."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        truths = write_folders(folder)
        return {
            (reader.tool, reader.form): compare(
                truths[reader.form],
                folder_images(truths[reader.form], reader.form),
                reader.load(folder, FOLDERS[reader.form]),
                ordered=reader.ordered,
            )
            for reader in FOLDER_READERS
        }


def read_run(run: pathlib.Path, images: pathlib.Path) -> dict[tuple[str, str], Comparison]:
    """Every tool on the label files of a run, in a folder laid out as readers expect it."""
    document = json.loads((run / FORMS["coco"]).read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "images").symlink_to(images.resolve())
        for file in FORMS.values():
            if (run / file).exists():
                shutil.copy(run / file, folder)
        names = [image["file_name"] for image in document["images"]]
        return read_forms(folder, stated_documents(folder), names)


def read_troubles() -> dict[tuple[str, str], str]:
    """Every tool on every trouble."""
    outcomes = {}
    for trouble in TROUBLES:
        for reader in READERS:
            if reader.form == "coco":
                with tempfile.TemporaryDirectory() as folder:
                    outcome = trouble_outcome(reader, pathlib.Path(folder), trouble)
                outcomes[reader.tool, trouble] = outcome
    return outcomes


def forms_table(found: dict[tuple[str, str], Comparison]) -> Rows:
    """A row a tool and file, a column a field."""
    rows = [["tool", "file", "images", "masks equal", "lowest IoU", *FIELDS]]
    for (tool, form), result in found.items():
        fields = {name: kept or "none stated" for name, kept in result.fields.items()}
        if fields["scores"] == "dropped" and fields["exits"] not in ("dropped", "none stated"):
            fields["scores"] = "in exits"
        lowest = f"{result.lowest_iou:.3f}"
        rows.append([tool, WRITTEN[form], result.images, result.masks, lowest, *fields.values()])
    return rows


def troubles_table(outcomes: dict[tuple[str, str], str]) -> Rows:
    """A row a trouble, a column a tool."""
    rows = [["the file has", *TOOLS]]
    for trouble in TROUBLES:
        rows.append([trouble, *(outcomes[tool, trouble] for tool in TOOLS)])
    return rows


def notes() -> str:
    """How each tool was called, what it loses and which masks differ; one text for like tools."""
    readers_of: dict[str, list[str]] = {}
    for reader in [*READERS, *FOLDER_READERS]:
        loss = EXPECTED[reader.tool, reader.form]
        names = "; ".join(sorted(loss.different))
        text = f"`{WRITTEN[reader.form]}`: {loss.why}" + (f" Not equal: {names}." if names else "")
        readers_of.setdefault(text, []).append(f"{reader.tool} (`{reader.call}`)")
    return "\n".join(
        textwrap.fill(f"* **{', '.join(readers)}**, {text}", 100, subsequent_indent="  ")
        for text, readers in readers_of.items()
    )


def main(argv: list[str]) -> None:
    """Writes, reads, compares; prints and writes the page."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.ERROR)  # the tools tell at length what they load
    if RUN.value:
        if not ((pathlib.Path(RUN.value) / FORMS["coco"]).is_file() and IMAGES.value):
            raise app.UsageError(f"--run needs a folder with {FORMS['coco']}, and --images")
        print(markdown(forms_table(read_run(pathlib.Path(RUN.value), pathlib.Path(IMAGES.value)))))
        return
    found, outcomes = read_drawn() | read_folders(), read_troubles()
    versions = [f"{tool} {importlib.metadata.version(tool)}" for tool in ALL_TOOLS]
    page = PAGE.format(
        versions=", ".join([*versions, f"Python {platform.python_version()}"]),
        forms=markdown(forms_table(found)),
        notes=notes(),
        troubles=markdown(troubles_table(outcomes)),
    )
    print(page)
    write_bytes(pathlib.Path(OUTPUT.value) / "interop.md", page.encode())
    lines = [
        f"{tool}, {WRITTEN[form]}: {line}"
        for (tool, form), result in found.items()
        for line in surprises(result, EXPECTED[tool, form])
    ]
    for key, outcome in outcomes.items():
        if outcome != REFUSED.get(key, READS):
            lines.append(f"{', '.join(key)}: {outcome}; expected {REFUSED.get(key, READS)}")
    if lines:
        sys.exit("not what is known of these tools:\n  " + "\n  ".join(lines))
    print("Nothing but what is known got lost.")


PAGE = """\
# Our label files in other tools

Thirteen annotations on two images and a third image without any (not square, one name in Unicode
and in a folder, ids with gaps): a hole, a part in a hole, two parts, a mask along the whole border,
pixels that touch at corners, one pixel, the whole image, noise with many holes, extreme points
without a box, boxes between pixels, through their centres, over the border and thinner than one, a
category of id 0, and a crowd that was in the input. They are written by the package and loaded by
each tool; masks are compared with the drawn arrays in every pixel. k/n: so many came back, of those
that the file states.

{versions}.

{forms}
Files are compared with the drawn masks, folders with what their format can hold: masks with holes
filled where it has polygons, without what smaller masks cover where it has one number a pixel.
`areas` are compared with the pixels of the drawn mask. Boxes count as kept within 0.01 px (readers
hold float32 or shares of the image). The results file states no boxes, crowds or `exits`;
supervision and Datumaro have no reader for it, and FiftyOne's `add_coco_labels` leaves out what has
no `bbox`: give these three `pseudo_labels.json`.

{notes}

## What a tool refuses

`pseudo_labels.json` keeps images, categories and crowds as the input has them, so what a tool
cannot take in the input it cannot take in our file either.

{troubles}
Command: `make interop`, which is `python -m experiments.interop` in an environment of
`requirements-interop.txt`. For the label files of your own run, printed and not kept:
`.venv-interop/bin/python -m experiments.interop --run=runs/mine --images=DIR`.
"""


if __name__ == "__main__":
    app.run(main)
