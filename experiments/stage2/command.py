"""The program as people run it: `main.py` in a process of its own."""

import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from exits_jax.system.errors import UserError


def run_mode(
    mode: str,
    workdir: pathlib.Path,
    settings: Mapping[str, object],
    *,
    config: str,
    more: Sequence[str] = (),
) -> None:
    """Runs one mode; what it prints is added to a file beside the workdir.

    Args:
      mode: of the command line.
      workdir: of the run.
      settings: name -> value, as in `--config.NAME=VALUE`.
      config: file, with its variant.
      more: further arguments.

    Raises:
      UserError: it did not end well; what is finished stays.
    """
    command = [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}"]
    command += [f"--mode={mode}", *(f"--config.{k}={v}" for k, v in settings.items()), *more]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    log = workdir.parent / f"{workdir.name}.log"
    with log.open("ab") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        last = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1]
        raise UserError(f"{log}: --mode={mode} ended with status {done.returncode}: {last}")
