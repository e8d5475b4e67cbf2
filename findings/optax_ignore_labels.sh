#!/usr/bin/env bash
# Package:  optax 0.2.8 with jax 0.10.2
# Expected: of the two labels that data sets give pixels and objects to be
#           ignored, 255 and -1, both are treated alike by
#           softmax_cross_entropy_with_integer_labels.
# Happens:  -1 is the last class: a finite loss, and a gradient that trains that
#           class. 255 makes the loss NaN, and its gradient is finite and wrong
#           (it pushes every class down), so that a check of gradients alone
#           passes and the parameters move.
# Seen:
#   label  2: loss 0.4076, gradient [0.09, 0.245, -0.335]
#   label -1: loss 0.4076, gradient [0.09, 0.245, -0.335]
#   label 255: loss nan, gradient [0.09, 0.245, 0.665]
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2 || exit 2
cat > check.py <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
import optax


def look(label):
    def loss(logits):
        labels = jnp.array([label])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()

    value, gradient = jax.value_and_grad(loss)(jnp.array([[1.0, 2.0, 3.0]]))
    gradient = np.asarray(gradient)[0].round(3).tolist()
    print(f"label {label:2}: loss {value:.4g}, gradient {[round(g, 3) for g in gradient]}")
    return float(value), gradient


last, ignored, far = look(2), look(-1), look(255)
assert ignored == last
assert np.isnan(far[0]) and np.isfinite(far[1]).all() and min(far[1]) > 0
PY
JAX_PLATFORMS=cpu venv/bin/python check.py
