"""A person's review of a run: from report.html into the labels, and back into the next report."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from exits_jax.app.outputs import file_digest
from exits_jax.app.run import Run
from exits_jax.export.decisions import (
    Decision,
    decided_in,
    decisions_file,
    decisions_record,
    read_decisions,
    standing,
)
from exits_jax.export.quality import Label


def reviewed(run: Run, labels: Mapping[int, Label] | None = None) -> dict[int, Decision]:
    """The decisions made in report.html about these masks, by annotation id; prints a summary.

    Args:
      run: gives the file: `label.decisions`, or else review_decisions.json in its workdir.
      labels: of every instance; None: the file is only read, so that a bad one is refused before
        the work.

    Raises:
      UserError: the file cannot be used.
    """
    file = decisions_file(run.config.label.decisions, run.workdir.decisions)
    decisions = read_decisions(file)
    if labels is None or not decisions:
        return decisions
    decisions, said = standing(decisions, labels)
    print(*(f"review, {file}: {line}" for line in said), sep="\n")
    return decisions


def review_for_page(run: Run) -> dict[str, Any]:
    """What the report starts from: the decisions that the labels were written with.

    `run` tells this run from others, so that a browser finds the decisions made on an earlier page
    of it; the rest is as in the file that the page saves.
    """
    workdir = run.workdir
    queue = json.loads(workdir.review.read_text()) if workdir.review.exists() else []
    name = f"{workdir.folder.resolve()} {run.config.data.annotations}"
    return {
        "run": hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16],
        **decisions_record(decided_in(queue), file_digest(workdir.labels)),
    }
