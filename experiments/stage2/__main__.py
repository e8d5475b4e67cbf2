"""Makes the labels, trains on them, and writes experiments/results/stage2.md.

    python -m experiments.shape_scenes --out=data/shape_scenes
    python -m experiments.stage2 --data scenes

What more data and time give, on true masks alone, and everything on one page:

    python -m experiments.shape_scenes --out=data/many_scenes --train=4000
    python -m experiments.stage2 --data many_scenes --arms true
    python -m experiments.stage2 --data scenes many_scenes --page

What is finished is not made again. Further arguments, such as --config.segmentation.epochs=8, go to
the program, for every arm alike. --quick goes through all of it in minutes, on a few small scenes,
and writes into the workdir.
"""

import argparse
import pathlib
import shlex
import sys

from exits_jax.system.files import write_bytes
from experiments.figures import write_figure
from experiments.shape_scenes import write_split
from experiments.stage2.arms import ARMS, BOXES, OURS, TRUE
from experiments.stage2.data_sets import data_sets
from experiments.stage2.page import ap_figure, page_of
from experiments.stage2.study import Study

RESULTS = pathlib.Path(__file__).parents[1] / "results"
QUICK_IMAGES = {"train": 24, "val": 8}
QUICK_SETTINGS = (
    "--config.segmentation.epochs=2",
    "--config.segmentation.batch_size=4",
    "--config.segmentation.rate_warmup_steps=2",
)


def main() -> None:
    """Makes what is missing, then writes the page."""
    args, more = _arguments()
    folder, results = args.workdir, RESULTS
    if args.quick:
        folder = results = folder / "quick"
        args.data, args.scenes, args.seeds, args.arms = ["scenes"], folder / "data", [0], QUICK_ARMS
        more = [*QUICK_SETTINGS, *more]
        for split, images in QUICK_IMAGES.items():
            write_split(args.scenes, split, images, seed=0)
    known = data_sets(args.scenes, args.many_scenes, args.coco)
    studies = {name: Study(known[name], folder, results, more) for name in args.data}
    sections = []
    for name, study in studies.items():
        if not args.page:
            study.fill(args.arms, args.seeds)
        sections.append(study.section(args.arms, args.seeds, args.samples))
        write_figure(results / f"stage2_{name}.png", study.pictures(sections[-1]))
    write_figure(results / "stage2.png", ap_figure(sections))
    page = page_of(
        sections,
        command=shlex.join(["python", "-m", "experiments.stage2", *sys.argv[1:]]),
        samples=args.samples,
        machines="; ".join(dict.fromkeys(m for s in studies.values() for m in s.machines)),
    )
    write_bytes(results / "stage2.md", page.encode())
    print(page)


QUICK_ARMS = [TRUE, OURS, BOXES]


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names, folder = [*data_sets(*[pathlib.Path()] * 3)], pathlib.Path
    data = folder("data")
    parser.add_argument("--data", nargs="+", choices=names, default=names[:1])
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], default=[*ARMS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workdir", type=folder, default=folder("runs/stage2"))
    parser.add_argument("--scenes", type=folder, default=data / "shape_scenes")
    parser.add_argument("--many_scenes", type=folder, default=data / "many_scenes")
    parser.add_argument("--coco", type=folder, default=data / "coco-mini", help="the COCO subset")
    parser.add_argument("--samples", type=int, default=2000, help="sets of test images")
    parser.add_argument("--page", action="store_true", help="only write what is finished")
    parser.add_argument("--quick", action="store_true", help="all of it on a few scenes")
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
