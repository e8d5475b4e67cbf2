"""The settings of point retrieval. Loads no JAX."""

import dataclasses
from typing import ClassVar

from exits_jax.system.errors import UserError
from exits_jax.system.settings import UNIT, Affects, Check, Section, at_least, one_of, setting

MAP, PARAMETERS = Affects.MAP, Affects.PARAMETERS
PAPER_CROP = 512  # the side of the crop in whose pixels `delta` is given


@dataclasses.dataclass(frozen=True)
class RetrievalSettings(Section):
    """Everything that shapes retrieval; hashable, so it can be a static argument of jit."""

    NAME: ClassVar[str] = "retrieval"

    source: str = setting(
        "attention",
        "what similarity is: the attention of the paper, or keys (not in the paper)",
        mark="S",
        affects=MAP,
        check=one_of("attention", "keys"),
    )
    layers: tuple[int, ...] = setting(
        (10,),
        "1-based layers whose mean similarity is used (table a1); () means all",
        mark="S",
        affects=MAP,
        check=Check(lambda value: isinstance(value, tuple), "a tuple of layers, () for all"),
    )
    sinkhorn_iterations: int = setting(
        3, "rounds of Sinkhorn normalisation", mark="?", affects=MAP, check=at_least(0)
    )
    symmetric: bool = setting(
        True, "whether (T + T^t) / 2 is taken after them", mark="?", affects=MAP
    )
    form: str = setting(
        "applied",
        "applied T(T(T v)), kernel T^alpha v (the same numbers), absorbing (1-b)(I-bT)^-1 v "
        "(alpha = infinity, equation a2)",
        mark="S",
        affects=MAP,
        check=one_of("applied", "kernel", "absorbing"),
    )
    hops: int = setting(
        3,
        "alpha, the number of hops (table a2); not used by the absorbing form",
        mark="S",
        affects=MAP,
        check=at_least(0),
    )
    beta: float = setting(
        0.25,
        "share of propagated against initial scores in the absorbing form (supplement, C)",
        mark="S",
        affects=MAP,
        check=Check(lambda value: 0 <= value < 1, "at least 0 and less than 1"),
    )
    decision: str = setting(
        "difference",
        "difference p * (s_FG - s_BG), or log_ratio log s_FG - log s_BG (not in the paper)",
        mark="S",
        affects=MAP,
        check=one_of("difference", "log_ratio"),
    )
    tau_fg: float = setting(
        0.4, "foreground points score more than this", mark="?", affects=PARAMETERS
    )
    tau_bg: float = setting(
        0.15, "background points score less than minus this", mark="?", affects=PARAMETERS
    )
    target_empty: float = setting(
        0.0,
        "scale the two thresholds, without masks, so that this share of crops retrieves nothing; "
        "the paper's rate is about 0.07 [S]; 0 keeps the thresholds",
        mark="?",
        affects=PARAMETERS,
        check=UNIT,
    )
    delta: float = setting(
        24.0,
        "how far extreme points are pushed inwards, in pixels of a crop of 512 (supplement, B)",
        mark="S",
        affects=MAP,
        check=at_least(0),
    )
    temperature: float = setting(
        0.1,
        "temperature of key similarity",
        mark="?",
        affects=MAP,
        check=Check(lambda value: value > 0, "more than 0"),
    )
    distance_sigma: float = setting(
        8.0,
        "reach of key similarity, cells; 0: no distance term",
        mark="?",
        affects=MAP,
        check=at_least(0),
    )
    box_only: str = setting(
        "nothing",
        "what walks if there are no extreme points: nothing, or a soft seed in the centre of the "
        "box",
        mark="?",
        affects=MAP,
        check=one_of("nothing", "centre"),
    )
    rounds: int = setting(
        0,
        "rounds of reseeding after the walk, one hop each; 0 is the paper's single walk; more "
        "need decision log_ratio",
        mark="?",
        affects=MAP,
        check=at_least(0),
    )
    centring: float = setting(
        0.0,
        "strength of tightness centring (not in the paper); 0 turns it off",
        mark="?",
        affects=MAP,
        check=at_least(0),
    )
    when: str = setting(
        "online",
        "online: in every training step, as in the paper. once: one pass over the instances before "
        "training, on a crop canonical_size pixels wide, resampled into each training crop; what "
        "lies outside it is outside the box, too. Not for form absorbing: its seeds' own scores, "
        "far above all others, would spread into the cells beside them",
        mark="P",
        affects=PARAMETERS,
        check=one_of("online", "once"),
    )
    canonical_size: int = setting(
        0,
        "side of the canonical crop, pixels; 0: as wide as a training crop",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )
    canonical_margin: float = setting(
        0.3,
        "margin of the canonical crop, share of the box's half-size per side",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )

    def __post_init__(self) -> None:
        """Raises UserError for values that do not work together; says what is expected."""
        super().__post_init__()
        if self.rounds and self.decision != "log_ratio":  # reseeding reads scores as log odds
            raise UserError(
                f"retrieval.rounds is {self.rounds}, expected 0 unless decision is 'log_ratio'"
            )

    @property
    def delta_share(self) -> float:
        """`delta` as a share of the crop's side."""
        return self.delta / PAPER_CROP


# What measured best with DINOv2, without any training. None of it is given in the paper: keys in
# place of attention, log odds in place of a difference, centring by the box's tightness, reseeding;
# in training one retrieval per instance instead of one per step.
RESEEDED_KEYS = RetrievalSettings(
    source="keys",
    layers=(9, 10, 11),
    decision="log_ratio",
    delta=16.0,
    box_only="centre",
    centring=0.3,
    rounds=5,
    tau_fg=0.7,
    tau_bg=0.7,
    when="once",
)
