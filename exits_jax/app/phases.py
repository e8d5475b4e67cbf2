"""The table of phases: a new phase is one row here and one function.

The command line reads names and help before JAX is loaded: nothing of a phase is imported until its
row's function is called.
"""

import enum
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from exits_jax.app import unused_settings
from exits_jax.app.unused_settings import Unused

if TYPE_CHECKING:
    from exits_jax.app.run import Run


class Together(enum.Enum):
    """How the processes of a run share a phase."""

    ALL = "all compute together"
    ONE = "the first does it, the others have nothing to do"
    PARTS = "each takes parts"


class Counts(NamedTuple):
    """Instances and images of a run; none of the training set if no phase reads it.

    Attributes:
      label: that are labelled.
      train: of the training set.
      large: those of the training set whose box is large enough to learn from.
      images: that are searched for objects; none if no phase searches any.
    """

    label: int
    train: int
    large: int
    images: int = 0


class Estimate(NamedTuple):
    """What a phase does in words, its work in forward passes of a crop, and its megabytes."""

    work: str
    crops: float
    megabytes: float


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
      name: --mode=NAME.
      help: one line, with what it writes.
      work: does it.
      result: whether mode `run` may skip it: its result exists, or the config wants none. None: it
        does not belong to mode `run`.
      together: how several processes share it.
      reads_training_set: whether it opens the training set.
      reads_annotations: whether it opens the annotations of what is labelled.
      searches_images: whether it works on images, whatever is annotated on them.
      estimate: what `--dry_run` says of it.
      renewed_after: phases whose new result makes this one's out of date.
      next: what to do after it, a format of `workdir` (the flag) and `report` (a path).
      unused: settings that contradict each other in it.
      before: refuses a mistake of the user's before any work.
      after: what the first process does alone after a phase that was asked for by name.
    """

    name: str
    help: str
    work: Callable[["Run"], Any]
    result: Callable[["Run"], bool] | None
    together: Together
    reads_training_set: bool
    estimate: Callable[["Run", Counts], Estimate]
    renewed_after: tuple[str, ...] = ()
    next: str = ""
    unused: tuple[Unused, ...] = ()
    reads_annotations: bool = True
    searches_images: bool = False
    before: Callable[["Run"], Any] | None = None
    after: Callable[["Run"], Any] | None = None


@dataclass(frozen=True)
class Later:
    """The function `module:function` of this room, imported when it is called."""

    place: str

    def function(self) -> Callable[..., Any]:
        """Imports it."""
        module, name = self.place.split(":")
        return getattr(importlib.import_module(f"exits_jax.app.{module}"), name)

    def __call__(self, *arguments: Any) -> Any:
        return self.function()(*arguments)


# In the order of mode `run`.
PHASES = (
    Phase(
        name="warmup",
        help="warm up the similarity extractor -> params/similarity_extractor.safetensors",
        work=Later("fit_phases:warmup"),
        result=Later("fit_phases:needs_no_warmup"),
        together=Together.ALL,
        reads_training_set=True,
        estimate=Later("fit_phases:estimate_warmup"),
        next="train the generator: --mode=train {workdir}",
        unused=unused_settings.WARMUP,
    ),
    Phase(
        name="train",
        help="train the mask generator -> params/generator.safetensors",
        work=Later("fit_phases:train"),
        result=Later("fit_phases:needs_no_training"),
        together=Together.ALL,
        reads_training_set=True,
        estimate=Later("fit_phases:estimate_train"),
        next="make the masks: --mode=label {workdir}",
        unused=unused_settings.TRAIN,
        after=Later("trust:say_after_training"),
    ),
    Phase(
        name="label",
        help="write the masks -> pseudo_labels.json, pseudo_labels.results.json, review.json",
        work=Later("label_phase:label"),
        result=Later("label_files:labels_are_written"),
        together=Together.PARTS,
        reads_training_set=False,
        estimate=Later("label_phase:estimate"),
        next="look first at {review}; pictures: --mode=evaluate {workdir}",
        unused=unused_settings.LABEL,
        before=Later("review:reviewed"),
    ),
    Phase(
        name="segment",
        help="train stage 2's model on masks -> params/segmentation.safetensors",
        work=Later("segment_phase:segment"),
        result=Later("segment_phase:is_trained"),
        together=Together.ALL,
        reads_training_set=False,
        reads_annotations=False,
        estimate=Later("segment_phase:estimate"),
        before=Later("segment_phase:check"),
        next="find objects with it: --mode=predict {workdir}",
        unused=unused_settings.SEGMENT,
    ),
    Phase(
        name="predict",
        help="find objects with the trained model, without any box -> predictions.json",
        work=Later("predict_phase:predict"),
        result=Later("predict_phase:needs_no_predictions"),
        together=Together.PARTS,
        reads_training_set=False,
        reads_annotations=False,
        searches_images=True,
        estimate=Later("predict_phase:estimate"),
        before=Later("predict_phase:check"),
        next="figures and pictures: --mode=evaluate {workdir}",
        unused=unused_settings.PREDICT,
    ),
    Phase(
        name="evaluate",
        help="compare with ground truth, draw, report -> evaluation.json, report.html, figures/",
        work=Later("report_files:evaluate"),
        result=Later("report_files:report_is_written"),
        together=Together.ONE,
        reads_training_set=False,
        estimate=Later("report_files:estimate"),
        renewed_after=("label", "predict"),
        next="open {report}",
    ),
    Phase(
        name="prepare",
        help="write the data as ArrayRecord -> prepared/ (for --config.data.source=tfds)",
        work=Later("prepare_phase:prepare"),
        result=None,
        together=Together.ONE,
        reads_training_set=True,
        estimate=Later("prepare_phase:estimate"),
    ),
)


def modes() -> tuple[str, ...]:
    """What --mode may be."""
    return ("run", *(phase.name for phase in PHASES), "check")


def in_mode(mode: str) -> list[Phase]:
    """The phases that a mode consists of, in their order."""
    if mode == "run":
        return [phase for phase in PHASES if phase.result]
    return [phase for phase in PHASES if phase.name == mode]
