"""The same work in JAX and in PyTorch: do the numbers agree, and how fast is each?

`torch_*.py` is a counterpart of the package in PyTorch, `weights.py` carries parameters over.
`parity.py` compares the results of `parts.py`, `bench.py` the times of `rows.py`; both are written
once and call either framework by one set of names (`jax_side.py`, `torch_side.py`). Nothing here is
imported by the package; each framework runs in processes of its own, PyTorch's in an environment
without JAX, and files (`problem.py`) go between them.

The counterpart is meant as what a PyTorch user would write: it is changed where PyTorch has a
better way, or where the package computes something else, and for no other reason.
"""
