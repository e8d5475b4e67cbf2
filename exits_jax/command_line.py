"""The command line: flags in, one phase or all of them run, an exit status out."""

import os
import re
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from exits_jax.annotations import check_file, problem_line
from exits_jax.cpu import prefer_eigen
from exits_jax.errors import UserError

HELP = """\
exits_jax: extreme points in, instance masks out.

  python main.py --config=configs/X.py[:variant] --workdir=DIR [--mode=M] [--config.a.b=value ...]
  python main.py --mode=check FILE [--images=DIR]

Modes
  run       every phase below that is not done yet, in order (default)
  warmup    warm up the similarity extractor -> params/similarity_extractor.safetensors
  train     train the mask generator -> params/generator.safetensors
  label     write the masks -> pseudo_labels.json, pseudo_labels.results.json, review.json
  evaluate  compare with ground truth, draw, report -> evaluation.json, report.html, figures/
  prepare   write the data as ArrayRecord -> prepared/ (for --config.data.source=tfds)
  check     lint an annotation or label file; exit status 0 clean, 1 findings; no config needed

  --dry_run says what would be done (counts, time, disk) and does nothing.

Configs
  configs/demo.py             scikit-image's photographs, annotated in demo/ (make demo)
  configs/coco_mini.py        a small part of COCO on a CPU, the settings that measured best
  configs/coco_mini.py:paper  the same data with the paper's settings
  configs/own.py              the same settings for your own data; labels by propagation, or with
                              --config.label.source=generator trains on what it labels
  configs/coco.py, lvis.py, voc.py   the paper's experiments
  Every setting, with its source, is in configs/base.py.

Your own data, nothing to edit:
  python main.py --config=configs/own.py --workdir=runs/mine --mode=label \\
      --config.label.source=propagation --config.data.annotations=FILE.json --config.data.images=DIR
  needs no training; FILE.json is COCO JSON with `extreme_points`, masks or boxes.
  With a trained generator: the config it was trained with, and in place of label.source
      --config.generator.params=RUN/params/generator.safetensors
      --config.extractor.params=RUN/params/similarity_extractor.safetensors (if warmed up)

Several processes, on one host or many, with one workdir on a file system they share:
  each runs the same command with --num_processes=N --process_id=I, and to train together
  --coordinator=HOST:PORT of process 0 (--coordinator=auto under Slurm, Open MPI, GKE).
  One process per host, or each with accelerators of its own (CUDA_VISIBLE_DEVICES).

A run that stopped, for whatever reason, continues with the same command.
"""

MODES = ("run", "warmup", "train", "label", "evaluate", "prepare", "check")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; `argv` (None: the process's own) begins with the program's name.

    Returns:
      0 when the mode finished (for `check`: and found nothing), 1 when `check` found something, 2
      for a mistake of the user's, printed as one line, 3 when another process of the run ended and
      this one could not go on, 130 after Ctrl-C.
    """
    argv = sys.argv if argv is None else argv
    prefer_eigen()
    if {"--help", "-h", "-help", "--helpfull", "--helpshort"} & set(argv[1:]):
        print(HELP)
        return 0
    try:
        values, config, rest = _parse(argv)
        return _dispatch(values, config, rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues where this run was", file=sys.stderr)
        return 130


def check(file: str, images: str | None) -> int:
    """Lints an annotation or label file; prints one line a finding; 1 if there is any."""
    problems = check_file(file, images)
    for problem in problems:
        print(problem_line(file, problem))
    if not problems:
        print(f"{file}: no findings", file=sys.stderr)
    return 1 if problems else 0


def _parse(argv: Sequence[str]) -> tuple[flags.FlagValues, ConfigDict | None, list[str]]:
    """Flags, config and what is left; every mistake in them becomes a UserError."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_enum("mode", "run", MODES, "what to do", flag_values=values)
    flags.DEFINE_string("images", None, "image folder, for --mode=check", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "say what would be done", flag_values=values)
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, or auto", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "processes of the run", flag_values=values)
    flags.DEFINE_integer("process_id", None, "this process, from 0", flag_values=values)
    config_flags.DEFINE_config_file(
        "config", None, "the config", flag_values=values, sys_argv=list(argv)
    )
    try:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # configs import their base as `configs.base`
        rest = values(list(argv))[1:]
        config = values.config
        if config is not None:
            config.to_dict()  # a config that could not be loaded says so only when it is used
        return values, config, rest
    except KeyError as error:
        first, *more = str(error.args[0]).splitlines()
        guess = re.search(r'Did you mean "(\w+)"', " ".join(more))
        help_ = f"did you mean '{guess[1]}'?" if guess else "configs/base.py has them all"
        key = first.strip("'\"")
        raise UserError(f"config: there is no key '{key}'; {help_}") from error
    except (flags.Error, OSError, ImportError, SyntaxError) as error:
        raise UserError(_one_line(error)) from error
    except AttributeError as error:
        guess = re.search(r'Did you mean "(\w+)"', str(error))
        key = re.search(r"\w+", str(error))
        if not (guess and key):
            raise UserError(f"config: {_one_line(error)}") from error
        text = f"there is no key '{key[0]}'; did you mean '{guess[1]}'?"
        raise UserError(f"config: {text}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"config: {_one_line(error)}") from error


def _dispatch(values: flags.FlagValues, config: ConfigDict | None, rest: list[str]) -> int:
    if values.mode == "check":
        if len(rest) != 1:
            raise UserError(f"--mode=check takes one file, found {rest or 'none'}")
        return check(rest[0], values.images)
    if rest:
        raise UserError(f"not understood: {' '.join(rest)}; see --help")
    if config is None:
        raise UserError("--config is missing, e.g. --config=configs/demo.py; see --help")
    if not values.workdir:
        raise UserError("--workdir is missing, e.g. --workdir=runs/mine; see --help")
    from exits_jax import phases  # here, so that mistakes and --mode=check do not wait for jax
    from exits_jax.hosts import TrainingEnded, hosts_from

    hosts = hosts_from(values.coordinator, values.num_processes, values.process_id, os.environ)
    folder = os.path.expanduser(values.workdir)
    try:
        phases.execute(values.mode, config, folder, values.dry_run, hosts)
    except TrainingEnded as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


def _one_line(error: Exception) -> str:
    """The last line of a message: what absl and ml_collections put before it is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = re.sub(r"^\w+Error: ", "", lines[-1]) if lines else type(error).__name__
    absent = re.fullmatch(r"\[Errno 2\] .*: '(.*)'", line)
    return f"{absent[1]}: no such config; --help lists those there are" if absent else line
