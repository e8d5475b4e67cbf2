#!/usr/bin/env bash
# Package:  orbax-checkpoint 0.12.8 with jax 0.10.2
# Expected: with max_to_keep=1 and best_fn, best_mode='max', the kept checkpoint
#           is the one with the highest metric; one whose metric is NaN (an
#           evaluation that found nothing) is never better than a number.
# Happens:  the checkpoint with NaN replaces the best one, which is deleted, and
#           is called best itself; it is replaced in turn by any later one,
#           also a worse one than the first.
# Seen:
#   step 1, metric 0.4: kept [1], best 1
#   step 2, metric nan: kept [2], best 2
#   step 3, metric 0.3: kept [3], best 3
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2 || exit 2
cat > check.py <<'PY'
import math
import tempfile

import jax.numpy as jnp
import orbax.checkpoint as ocp

options = ocp.CheckpointManagerOptions(
    max_to_keep=1, best_fn=lambda metrics: metrics["ap"], best_mode="max"
)
kept = []
with ocp.CheckpointManager(tempfile.mkdtemp(), options=options) as manager:
    for step, ap in ((1, 0.4), (2, math.nan), (3, 0.3)):
        state = ocp.args.StandardSave({"w": jnp.full(2, step)})
        manager.save(step, args=state, metrics={"ap": ap})
        manager.wait_until_finished()
        kept.append([*manager.all_steps()])
        print(f"step {step}, metric {ap}: kept {kept[-1]}, best {manager.best_step()}")
assert kept == [[1], [2], [3]]
PY
JAX_PLATFORMS=cpu venv/bin/python check.py 2>/dev/null
