"""What XLA should do differently on a CPU."""

import os

import jaxlib

# XLA 0.10 and 0.11 hand products of matrices to YNNPACK by default. Those of a ViT (4616 tokens,
# 384 channels, two cores) are slower there than in Eigen: 115 against 159 GFLOP/s.
FLAG = "--xla_cpu_experimental_ynn_fusion_type="
KNOWN_TO = ("0.10.", "0.11.")  # an XLA that does not know a flag refuses to start


def prefer_eigen() -> None:
    """Sets the flag for computations on a CPU; to be called before the first of them.

    What the user says in XLA_FLAGS has the last word.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith(KNOWN_TO) and FLAG not in given:
        os.environ["XLA_FLAGS"] = f"{FLAG} {given}".strip()
