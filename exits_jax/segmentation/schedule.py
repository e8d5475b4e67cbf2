"""At which rate stage 2 trains, by which optimiser."""

import optax

from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.training.optimiser import learning_rate_schedule, make_sgd, stepped_schedule
from exits_jax.training.schedule import adamw, steps_in


def rates(settings: SegmentationSettings, batches: int) -> optax.Schedule:
    """The learning rate by step; the settings' is times the batch size."""
    peak = settings.learning_rate * settings.batch_size
    warmup = warmup_steps(settings, batches)
    if settings.drops:
        drops = [round(epoch * batches) for epoch in settings.drops]
        return stepped_schedule(peak, drops=drops, warmup_steps=warmup)
    return learning_rate_schedule(
        peak,
        total_steps=steps_in(settings, batches),
        warmup_steps=warmup,
        final_rate=settings.final_rate,
    )


def warmup_steps(settings: SegmentationSettings, batches: int) -> int:
    """The steps in which the rate rises."""
    return settings.rate_warmup_steps + round(settings.rate_warmup_epochs * batches)


def optimiser(settings: SegmentationSettings, rate: optax.Schedule) -> optax.GradientTransformation:
    """SGD, or AdamW whose rate outside the encoder is `decoder_rate` times that inside."""
    if settings.optimiser == "sgd":
        return make_sgd(
            rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
        )
    return adamw(settings, rate)
