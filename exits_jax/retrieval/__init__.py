"""Point retrieval: four extreme points in, labelled points out (the paper's idea).

Pure jax.numpy on float32 arrays, batched, of fixed shapes, without parameters or gradients:
similarity -> transition matrix -> walk from the seeds -> score -> thresholds.
"""
