#!/usr/bin/env bash
# Package:  safetensors 0.8.0 with numpy 2.4.6
# Expected: safetensors.numpy.save and load give back the array that went in,
#           or refuse one whose memory is not in row order. Converting weights
#           between frameworks makes such arrays: x.T is a view.
# Happens:  the bytes are written in memory order under the view's shape: a
#           transposed kernel comes back with the right shape and type and its
#           values in other places, without an error or a warning.
# Seen:
#   went in:   [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
#   came back: [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]] (0 warnings)
#   after np.ascontiguousarray: equal
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 || exit 2
cat > check.py <<'PY'
import warnings

import numpy as np
import safetensors.numpy as st

kernel = np.arange(6, dtype=np.float32).reshape(2, 3).T
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    back = st.load(st.save({"kernel": kernel}))["kernel"]
whole = st.load(st.save({"kernel": np.ascontiguousarray(kernel)}))["kernel"]
print("went in:  ", kernel.tolist())
print("came back:", back.tolist(), f"({len(warned)} warnings)")
print("after np.ascontiguousarray:", "equal" if np.array_equal(whole, kernel) else "differs")
assert back.shape == kernel.shape and back.dtype == kernel.dtype and not warned
assert not np.array_equal(back, kernel) and np.array_equal(whole, kernel)
PY
venv/bin/python check.py
