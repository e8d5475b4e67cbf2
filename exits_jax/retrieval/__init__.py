"""Point retrieval: four extreme points in, labelled points out (the paper's idea).

Pure jax.numpy on float32 arrays, batched, of fixed shapes, without parameters or gradients:
similarity -> transition matrix -> walk from the seeds -> score -> thresholds.
"""

from exits_jax.retrieval.calibrate import calibrate_thresholds
from exits_jax.retrieval.crops import crop_scores, score_inputs
from exits_jax.retrieval.points import inside_box, retrieve_points, seed_points
from exits_jax.retrieval.prior import prior_logits
from exits_jax.retrieval.propagation import (
    absorbing_kernel,
    power_kernel,
    propagate,
    propagate_absorbing,
    transition_matrix,
)
from exits_jax.retrieval.resample import resample_score
from exits_jax.retrieval.score import Scores, propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RESEEDED_KEYS, RetrievalSettings
from exits_jax.retrieval.shape import shape_offset
from exits_jax.retrieval.similarity import attention_similarity, key_similarity

__all__ = [
    "RESEEDED_KEYS",
    "RetrievalSettings",
    "Scores",
    "absorbing_kernel",
    "attention_similarity",
    "calibrate_thresholds",
    "crop_scores",
    "inside_box",
    "key_similarity",
    "power_kernel",
    "prior_logits",
    "propagate",
    "propagate_absorbing",
    "propagation_score",
    "resample_score",
    "retrieve_points",
    "score_inputs",
    "seed_points",
    "shape_offset",
    "similarity_matrix",
    "transition_matrix",
]
