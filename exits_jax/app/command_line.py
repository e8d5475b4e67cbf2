"""The command line: flags in, one phase or all of them run, an exit status out."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict

from exits_jax.app import phases
from exits_jax.app.outputs import version
from exits_jax.app.settings import help_lines
from exits_jax.app.settings_given import parse
from exits_jax.system.cpu import prefer_eigen
from exits_jax.system.errors import UserError
from exits_jax.system.interruption import heard_again, stop_between_steps
from exits_jax.system.library_messages import in_our_words

HELP = """\
exits_jax: extreme points in, instance masks out.

  python main.py --config=configs/X.py[:variant] --workdir=DIR [--mode=M] [--config.a.b=value ...]
  python main.py --workdir=DIR [--mode=M] [--config.a.b=value ...]     with DIR's own config
  python main.py --mode=check FILE ... [--images=DIR] [--all] [--config.data.X=value ...]

Installed, `exits` is `python main.py` in any folder. The mode may be the first word:
  exits label FILE DIR [--workdir=W] [--config.a.b=value ...]
      your own data: masks of the objects in FILE on the images in DIR; no training. Uses
      configs/own.py unless --config is given, and runs/NAME for NAME.json unless --workdir is
  exits predict DIR --params=FILE.safetensors [--workdir=W] [--config.a.b=value ...]
      the objects a trained model (params/segmentation.safetensors of a run) finds on the images in
      DIR, or on one image, or on those an annotation file lists: no points, no boxes
  exits check FILE ... [--images=DIR]        exits evaluate --workdir=W        (so for every mode)

Modes
  run       every phase below that is not done yet, in order (default)
{phases}
  check     lint annotation or label files, or a folder of them; exit status 0 clean, 1 findings;
            of many findings the first of each kind, --all lists every one; needs no config.
            It takes labelling's settings about the file: --config.data.X=..., where X is boxes,
            boxes_by, box_form, crowds, exif or kind

  --dry_run says what would be done (counts, time, disk) and does nothing.

Configs: a file, or one of these by name (--config=own), from configs/ in your folder if it is
there, else from this package
  configs/demo.py             scikit-image's photographs, annotated in demo/ (make demo)
  configs/coco_mini.py        a small part of COCO on a CPU, the settings that measured best
  configs/coco_mini.py:paper  the same data with the paper's settings
  configs/own.py              the same settings for your own data; labels by propagation; with
                              --config.label.source=generator it trains on what it labels
  configs/coco.py, lvis.py, voc.py   the paper's experiments
  configs/solov2_mini.py, solov2_scenes.py   stage 2 on a CPU: a model trained on the masks
  configs/solov2_coco.py, solov2_lvis.py, solov2_voc.py   the paper's stage 2
  --help=settings lists every setting with its default, its source and what it means.

Your own data, nothing to edit: `exits label FILE DIR`, short for
  python main.py --config=configs/own.py --workdir=runs/FILE --mode=label \\
      --config.data.annotations=FILE.json --config.data.images=DIR
  needs no training; FILE.json is COCO JSON with `extreme_points`, masks or boxes.
  With a trained generator: the config it was trained with, and
      --config.generator.params=RUN/params/generator.safetensors
      --config.extractor.params=RUN/params/similarity_extractor.safetensors (if warmed up)

Several processes, on one host or many, with one workdir on a file system they share:
  each runs the same command with --num_processes=N --process_id=I, and to train together
  --coordinator=HOST:PORT of process 0 (--coordinator=auto under Slurm, Open MPI, GKE).
  One process per host, or each with accelerators of its own (CUDA_VISIBLE_DEVICES).

A run that stopped, for whatever reason, continues with the same command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; `argv` (None: the process's own) begins with the program's name.

    Returns:
      0 when the mode finished (for `check`: and found nothing), 1 when `check` found something, 2
      for a mistake of the user's, printed as one line, 3 when another process of the run ended and
      this one could not go on, 130 after Ctrl-C, 141 when nobody reads the output any more.
    """
    own_process, argv = argv is None, sys.argv if argv is None else argv
    prefer_eigen()
    try:
        with in_our_words(), heard_again():
            status = _run(argv)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues where this run stopped", file=sys.stderr)
        return _leave(130) if own_process else 130
    except BrokenPipeError:  # the reader of our output, `head` for instance, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _leave(status: int) -> NoReturn:
    """Ends the process at once: interrupted in a compilation, XLA crashes in an orderly exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(argv: Sequence[str]) -> int:
    given = set(argv[1:])
    if "--help=settings" in given:
        print(*help_lines(), sep="\n")
        return 0
    if {"--help", "-h", "-help", "--helpfull", "--helpshort"} & given:
        print(_help())
        return 0
    if "--version" in given:
        print(f"exits_jax {version()}")
        return 0
    return _dispatch(*parse(argv, phases.modes()))


def _help() -> str:
    lines = [f"  {phase.name:<9} {phase.help}" for phase in phases.PHASES]
    return HELP.format(phases="\n".join(lines))


def _dispatch(
    values: flags.FlagValues, config: ConfigDict | None, rest: list[str], changed: set[str]
) -> int:
    if values.mode == "check":
        if not rest:
            raise UserError(
                "--mode=check needs a file: python main.py --mode=check FILE; see --help"
            )
        from exits_jax.app.checking import SETTINGS, check  # here: --help does not wait for it

        names = {f"config.data.{name}": name for name in SETTINGS}
        given = {"config"} if config is not None and values["config"].present else set()
        if unused := sorted((changed | given) - names.keys()):
            text = f"--mode=check does not use --{unused[0]}; it takes --config.data.X with X"
            raise UserError(f"{text} {', '.join(SETTINGS)}")
        settings = {names[name]: config.data[names[name]] for name in changed}
        return check(rest, values.images, values.all, settings)
    if rest:
        raise UserError(f"not understood: {' '.join(rest)}; see --help")
    if config is None:
        absent = f", and {values.workdir} has no config.json to take it from" * bool(values.workdir)
        text = f"--config is missing, e.g. --config=configs/own.py{absent}"
        raise UserError(f"{text}; for your own files: label FILE DIR; see --help")
    if not values.workdir:
        raise UserError("--workdir is missing, e.g. --workdir=runs/mine; see --help")
    print(f"{config.name}: --mode={values.mode} in {values.workdir}; loading JAX", flush=True)
    # Here, so that mistakes and --mode=check do not wait for JAX. Interrupted there, XLA crashes.
    with stop_between_steps():
        from exits_jax.app.execute import execute
        from exits_jax.system.hosts import TrainingEnded, hosts_from

    hosts = hosts_from(values.coordinator, values.num_processes, values.process_id, os.environ)
    try:
        execute(values.mode, config, values.workdir, values.dry_run, hosts)
    except TrainingEnded as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0
