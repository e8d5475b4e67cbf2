"""Whether a generator's masks may be labels: compared with propagation's, without ground truth."""

import dataclasses
import json

import numpy as np
from rich.console import Console

from exits_jax.app.labels import label_params, make_labels
from exits_jax.app.run import DataSet, Run, data_to_label
from exits_jax.evaluation.tables import Rows, rich_table, shown
from exits_jax.pseudo_labels.agreement import Comparison, compare
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json

SAMPLE = 128  # instances to compare at most: about a minute on two cores
MEASURES = {
    "points": "extreme points near the mask",
    "sides": "sides of the box reached",
    "clean": "masks without a flag",
    "shaped": "masks that are more than their box",
    "fit": "all four together",
    "score": "mean score",
}


def check_generator(run: Run, data: DataSet) -> None:
    """Refuses a generator whose masks fit points, boxes and flags worse than propagation's.

    `label.accept_worse` lets any generator pass.

    Raises:
      UserError: the generator is worse.
    """
    found = compared(run, data)
    if found and found.worse and not run.config.label.accept_worse:
        raise UserError(_verdict(run, found))


def say_after_training(run: Run) -> None:
    """Prints the comparison for a generator just trained, or a note why there is none."""
    try:
        found = compared(run, data_to_label(run))
    except UserError as error:
        return print(f"note: the generator is not compared with propagation: {error}")
    if found and found.worse:
        print(f"note: {_verdict(run, found)}")


def compared(run: Run, data: DataSet) -> Comparison | None:
    """Compares masks of at most `SAMPLE` instances, prints a table, keeps `training_check.json`.

    The masks are kept as parts of the labels (`labels.make_labels`): if they are those of all
    instances, labelling and evaluation reuse them.

    Returns:
      None, with a note, if propagation is not possible: a generator without the propagation map
      (`generator.prior`) labels without the extractor, whose weights may then be missing.
    """
    if not run.config.generator.prior:
        try:
            label_params(run, "propagation")
        except UserError as error:
            run.workdir.training_check.unlink(missing_ok=True)
            return print(f"note: the generator is not compared with propagation: {error}")
    sample = sampled(data)
    count = f"{len(sample.instances)} of {len(data.instances)}"
    print(f"compare the generator with propagation on {count} instances, without ground truth")
    made = [make_labels(run, sample, source) for source in ("generator", "propagation")]
    found = compare(sample.instances, *([m[i.id] for i in sample.instances] for m in made))
    if run.hosts.first:
        write_json(run.workdir.training_check, dataclasses.asdict(found), indent=2)
        Console().print(rich_table(table(found), "masks, judged without ground truth"))
    return found


def sampled(data: DataSet) -> DataSet:
    """At most `SAMPLE` instances, evenly spread and in order."""
    count = len(data.instances)
    return data.take(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(int))


def table(found: Comparison) -> Rows:
    """Generator and propagation side by side."""
    pair = found.generator, found.propagation
    rows = [[name, *(shown(getattr(one, key)) for one in pair)] for key, name in MEASURES.items()]
    return [[f"{found.instances} instances", "generator", "propagation"], *rows]


def facts(run: Run) -> dict[str, str]:
    """What the report's head says about the comparison, if there was one."""
    path = run.workdir.training_check
    if run.config.label.source != "generator" or not path.exists():
        return {}
    found = json.loads(path.read_text())
    fits = (f"{shown(found[name]['fit'])} ({name})" for name in ("generator", "propagation"))
    return {"fit to points, boxes and flags": " against ".join(fits)}


def _verdict(run: Run, found: Comparison) -> str:
    return (
        f"the generator's masks fit worse than propagation's: {found.generator.fit:.3f} against "
        f"{found.propagation.fit:.3f} (the table above; {run.workdir.training_check}). Label with "
        "propagation: --config.label.source=propagation and a new --workdir; or use this "
        "generator anyway: --config.label.accept_worse=True"
    )
