"""Networks: the vision transformer, the mask decoder, the generator; and pretrained weights.

`exits_jax.models.backbones` is imported by its own name: it is also a command.
"""
