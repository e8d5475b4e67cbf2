"""What each family of published weights calls the parameters of `vit.ViT`: tables, no code paths.

A table maps our name ('/'-joined, "block/" standing for every layer) to the family's name
("{layer}" is the layer counted from 0) and to what has to be done with the array. Several of our
parameters may come from one array (query, key and value from a fused one; the class token's
position and the grid's from one list of positions).
"""

import dataclasses

from exits_jax.models.rename_changes import (
    Change,
    class_row,
    convolution,
    grid_rows,
    joined,
    joined_in,
    joined_out,
    keep,
    last_axis,
    part,
    transpose,
    zeros,
)

Table = dict[str, tuple[str, Change]]


@dataclasses.dataclass(frozen=True)
class Family:
    """One naming scheme.

    Fields:
      name: what `load_vit(family=...)` calls it.
      marks: names whose presence tells the family; the first also shows a common prefix
        ("backbone.", "vit.", "params/").
      table: our name -> (the family's name, change of the array).
      ignored: regular expressions of names that are not part of the encoder; any other unused name
        is reported.
    """

    name: str
    marks: tuple[str, ...]
    table: Table
    ignored: tuple[str, ...]


def _embedding(prefix: str, patch: str, position: str) -> Table:
    """The rows of the embedding in PyTorch's conventions."""
    return {
        "embedding/class_token": (f"{prefix}cls_token", last_axis),
        "embedding/class_position": (f"{prefix}{position}", class_row),
        "embedding/position": (f"{prefix}{position}", grid_rows),
        "embedding/patch_projection/kernel": (f"{prefix}{patch}.weight", convolution),
        "embedding/patch_projection/bias": (f"{prefix}{patch}.bias", keep),
    }


def _dense(ours: str, theirs: str) -> Table:
    """A PyTorch dense layer."""
    return {
        f"{ours}/kernel": (f"{theirs}.weight", transpose),
        f"{ours}/bias": (f"{theirs}.bias", keep),
    }


def _norm(ours: str, theirs: str) -> Table:
    """A PyTorch LayerNorm."""
    return {f"{ours}/scale": (f"{theirs}.weight", keep), f"{ours}/bias": (f"{theirs}.bias", keep)}


def _fused(layer: str) -> Table:
    """Query, key and value out of one fused PyTorch layer."""
    return {
        f"block/attention/{ours}/{kind}": (f"{layer}.{theirs}", part(index))
        for index, ours in enumerate(("query", "key", "value"))
        for kind, theirs in (("kernel", "weight"), ("bias", "bias"))
    }


# facebookresearch's mae, deit and dino, and timm.
TIMM: Table = {
    **_embedding("", "patch_embed.proj", "pos_embed"),
    **_norm("block/norm1", "blocks.{layer}.norm1"),
    **_fused("blocks.{layer}.attn.qkv"),
    **_dense("block/attention/out", "blocks.{layer}.attn.proj"),
    **_norm("block/norm2", "blocks.{layer}.norm2"),
    **_dense("block/mlp/fc1", "blocks.{layer}.mlp.fc1"),
    **_dense("block/mlp/fc2", "blocks.{layer}.mlp.fc2"),
    **_norm("norm", "norm"),
}

# facebookresearch's dinov2: the same and LayerScale.
DINOV2: Table = {
    **TIMM,
    "block/scale1": ("blocks.{layer}.ls1.gamma", keep),
    "block/scale2": ("blocks.{layer}.ls2.gamma", keep),
}

_HF_LAYER = "encoder.layer.{layer}"
_HF_EMBEDDING: Table = _embedding(
    "embeddings.", "patch_embeddings.projection", "position_embeddings"
)
_HF_ATTENTION: Table = {
    **_dense("block/attention/query", f"{_HF_LAYER}.attention.attention.query"),
    **_dense("block/attention/key", f"{_HF_LAYER}.attention.attention.key"),
    **_dense("block/attention/value", f"{_HF_LAYER}.attention.attention.value"),
    **_dense("block/attention/out", f"{_HF_LAYER}.attention.output.dense"),
}

# transformers' ViTModel and ViTMAEModel.
HF_VIT: Table = {
    **_HF_EMBEDDING,
    **_norm("block/norm1", f"{_HF_LAYER}.layernorm_before"),
    **_HF_ATTENTION,
    **_norm("block/norm2", f"{_HF_LAYER}.layernorm_after"),
    **_dense("block/mlp/fc1", f"{_HF_LAYER}.intermediate.dense"),
    **_dense("block/mlp/fc2", f"{_HF_LAYER}.output.dense"),
    **_norm("norm", "layernorm"),
}

# transformers' Dinov2Model; also the names inside ONNX exports of it.
HF_DINOV2: Table = {
    **_HF_EMBEDDING,
    **_norm("block/norm1", f"{_HF_LAYER}.norm1"),
    **_HF_ATTENTION,
    "block/scale1": (f"{_HF_LAYER}.layer_scale1.lambda1", keep),
    **_norm("block/norm2", f"{_HF_LAYER}.norm2"),
    **_dense("block/mlp/fc1", f"{_HF_LAYER}.mlp.fc1"),
    **_dense("block/mlp/fc2", f"{_HF_LAYER}.mlp.fc2"),
    "block/scale2": (f"{_HF_LAYER}.layer_scale2.lambda1", keep),
    **_norm("norm", "layernorm"),
}


def _flax(attention: str, norms: tuple[str, str], mlp: str) -> Table:
    """The layers as google-research's Flax ViTs name them."""
    layer = "Transformer/encoderblock_{layer}"
    rows: Table = {}
    for ours, theirs in zip(("norm1", "norm2"), norms, strict=True):
        for kind in ("scale", "bias"):
            rows[f"block/{ours}/{kind}"] = (f"{layer}/{theirs}/{kind}", keep)
    for name in ("query", "key", "value"):
        rows[f"block/attention/{name}/kernel"] = (f"{layer}/{attention}/{name}/kernel", joined_in)
        rows[f"block/attention/{name}/bias"] = (f"{layer}/{attention}/{name}/bias", joined)
    rows["block/attention/out/kernel"] = (f"{layer}/{attention}/out/kernel", joined_out)
    rows["block/attention/out/bias"] = (f"{layer}/{attention}/out/bias", keep)
    for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
        for kind in ("kernel", "bias"):
            rows[f"block/mlp/{ours}/{kind}"] = (f"{layer}/{mlp}/{theirs}/{kind}", keep)
    rows["embedding/class_token"] = ("cls", last_axis)
    rows["embedding/patch_projection/kernel"] = ("embedding/kernel", keep)
    rows["embedding/patch_projection/bias"] = ("embedding/bias", keep)
    for kind in ("scale", "bias"):
        rows[f"norm/{kind}"] = (f"Transformer/encoder_norm/{kind}", keep)
    return rows


# google-research/vision_transformer: the AugReg files, ImageNet-21k.
AUGREG: Table = {
    **_flax("MultiHeadDotProductAttention_1", ("LayerNorm_0", "LayerNorm_2"), "MlpBlock_3"),
    "embedding/class_position": ("Transformer/posembed_input/pos_embedding", class_row),
    "embedding/position": ("Transformer/posembed_input/pos_embedding", grid_rows),
}

# google-research/big_vision, whose class token gets no position.
BIG_VISION: Table = {
    **_flax("MultiHeadDotProductAttention_0", ("LayerNorm_0", "LayerNorm_1"), "MlpBlock_0"),
    "embedding/class_position": ("cls", zeros),
    "embedding/position": ("pos_embedding", grid_rows),
}

# Told apart in this order: a family with LayerScale before the same names without.
FAMILIES = (
    Family("dinov2", ("patch_embed.proj.weight", "blocks.0.ls1.gamma"), DINOV2, ("mask_token",)),
    Family(
        "timm",
        ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
        TIMM,
        (r"head\..*", r"pre_logits\..*", "mask_token", r"decoder_.*"),
    ),
    Family(
        "hf_dinov2",
        ("embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layer_scale1.lambda1"),
        HF_DINOV2,
        (r"embeddings\.mask_token", r"decoder\..*", r"classifier\..*"),
    ),
    Family(
        "hf_vit",
        (
            "embeddings.patch_embeddings.projection.weight",
            "encoder.layer.0.layernorm_before.weight",
        ),
        HF_VIT,
        (r"embeddings\.mask_token", r"pooler\..*", r"classifier\..*", r"decoder\..*"),
    ),
    Family(
        "augreg",
        ("embedding/kernel", "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"),
        AUGREG,
        (r"head/.*", r"pre_logits/.*"),
    ),
    Family(
        "big_vision",
        ("embedding/kernel", "Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel"),
        BIG_VISION,
        (r"head/.*", r"pre_logits/.*", r"MAPHead_0/.*"),
    ),
)
