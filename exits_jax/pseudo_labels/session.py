"""Masks for one prompt after another: what the network saw of a view is kept for the next."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from exits_jax.annotations import Instance, decode_segmentation
from exits_jax.data.crop import crop_image, fixed_window, to_crop
from exits_jax.data.images import RGBImage
from exits_jax.data.source import file_source
from exits_jax.models.build import attend, load_backbone
from exits_jax.models.published import published
from exits_jax.models.settings import SIZES
from exits_jax.pseudo_labels.compete import Crop
from exits_jax.pseudo_labels.crops import placed
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.pseudo_labels.predicted_iou import predicted_iou
from exits_jax.pseudo_labels.settings import SMOOTH
from exits_jax.retrieval.corrections import corrected
from exits_jax.retrieval.crops import layers_asked
from exits_jax.retrieval.propagation import transition_matrix
from exits_jax.retrieval.score import propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RESEEDED_KEYS
from exits_jax.retrieval.shape import shape_offset
from exits_jax.system.errors import UserError
from exits_jax.system.types import Batch, Params

CROP_SIZE, MARGIN = 336, 0.3
VIEWS = 16  # kept per image; 1.3 MB each
LEAST_MARGIN = 0.05  # of the box's half-size: surroundings that a view must show at least
COARSER = 1.5  # another view may be this many times as wide as the object's own and still serve it
CLICKS = 16  # corrections are padded to a multiple of this: few programs for any number
SETTINGS = RESEEDED_KEYS
PROMPT_KEYS = ("points_xy", "has_points", "box_xyxy", "valid_xyxy")


class View(NamedTuple):
    """A part of an image as a network sees it once.

    Attributes:
      window_xyxy: where it lies, image coordinates.
      similarity: of its cells, on the device.
    """

    window_xyxy: Float[np.ndarray, "4"]
    similarity: Float[Array, "1 p p"]

    def serves(self, box_xyxy: Float[np.ndarray, "4"]) -> bool:
        """Whether an object's prompt can be answered in this view."""
        needed, own = fixed_window(box_xyxy, LEAST_MARGIN), fixed_window(box_xyxy, MARGIN)
        low, high = self.window_xyxy[:2], self.window_xyxy[2:]
        inside = (needed[:2] >= low).all() and (needed[2:] <= high).all()
        return bool(inside and (high - low <= COARSER * (own[2:] - own[:2])).all())


class Programs(NamedTuple):
    """The two compiled halves of a mask: what is done once per view, and once per prompt."""

    params: Params
    see: Callable[[Params, Any], Array]  # images uint8[v,s,s,3] -> similarity [v,p,p]
    walk: Callable[..., Array]  # similarity, prompts [b], clicks -> logits [b,N,N]


class OpenImage:
    """An image whose objects are asked for one after the other.

    The first prompt in a view costs a pass of the network; later ones that lie in a view which was
    seen (a dragged point, a correction, a part of the object) cost a walk.

    Args:
      pixels: of the image.
      backbone: a name in `exits_jax.models.published.BACKBONES`.
      threshold: of the mask probability.
    """

    def __init__(self, pixels: RGBImage, backbone: str, threshold: float) -> None:
        self.height, self.width = pixels.shape[:2]
        self._pixels, self._threshold = pixels, threshold
        self._programs = programs_of(backbone)
        self._views: collections.deque[View] = collections.deque(maxlen=VIEWS)

    def see(self, instances: Sequence[Instance]) -> None:
        """Looks at the views of some objects at once; `mask` then finds them."""
        windows = [fixed_window(instance.box_xyxy, MARGIN) for instance in instances]
        images = np.stack([crop_image(self._pixels, w, CROP_SIZE, False) for w in windows])
        similarity = self._programs.see(self._programs.params, images)
        self._views.extend(View(w, similarity[k : k + 1]) for k, w in enumerate(windows))

    def mask(
        self,
        instance: Instance,
        corrections: Sequence[tuple[float, float, int]] = (),
        *,
        own_view: bool = False,
    ) -> tuple[Bool[np.ndarray, "h w"], float]:
        """Mask and predicted IoU of one object.

        Args:
          instance: box and extreme points, image coordinates.
          corrections: clicks (x, y, 1 to add or -1 to take away), image coordinates.
          own_view: answer in the view that is made for this object.
        """
        view = self._view_of(instance, own_view)
        row = placed(file_source([instance]).example(0, self._pixels), view.window_xyxy)
        prompts = {name: row[name][None] for name in PROMPT_KEYS}
        clicks = _clicks(corrections, view.window_xyxy)
        logits = np.asarray(self._programs.walk(view.similarity, prompts, *clicks))
        crop = Crop(instance, logits[0], row["window_xyxy"])
        label = label_from_logits(*crop, self._threshold, predicted_iou(crop), SMOOTH)
        return decode_segmentation(label.rle, self.height, self.width), label.score

    def _view_of(self, instance: Instance, own: bool) -> View:
        window = fixed_window(instance.box_xyxy, MARGIN)
        for view in reversed(self._views):
            if np.array_equal(view.window_xyxy, window):
                return view
        for view in reversed(self._views) if not own else ():
            if view.serves(instance.box_xyxy):
                return view
        self.see([instance])
        return self._views[-1]


def check_backbone(name: str) -> None:
    """Checks that a backbone is known and deep enough for the layers that are read.

    Raises:
      UserError: it is not.
    """
    depth, deepest = SIZES[published(name).size][1], max(SETTINGS.layers)
    if depth < deepest:
        raise UserError(f"backbone {name} has {depth} layers, expected {deepest} or more")


@functools.cache
def programs_of(backbone: str) -> Programs:
    """The compiled halves, made once per backbone."""
    network, params = load_backbone(backbone)
    grid = CROP_SIZE // network.patch
    intermediates = attend(network, published(backbone).normalise)
    asked = layers_asked(SETTINGS, network.depth)

    def see(params: Params, images: Array) -> Array:
        out = intermediates(params, images, **asked)
        return similarity_matrix(out, class_token=network.class_token, settings=SETTINGS)

    def walk(similarity: Array, prompts: Batch, clicks_xy: Array, signs: Array) -> Array:
        known = [prompts[name] for name in PROMPT_KEYS]
        score = propagation_score(similarity, *known, grid=grid, settings=SETTINGS).score
        if len(signs):
            transition = transition_matrix(
                similarity,
                iterations=SETTINGS.sinkhorn_iterations,
                symmetric=SETTINGS.symmetric,
            )
            score = corrected(score[0], transition[0], clicks_xy, signs, grid=grid)[None]
        logits = score.reshape(-1, grid, grid)
        return logits + shape_offset(logits, *known)[:, None, None]

    return Programs(jax.device_put(params), jax.jit(see), jax.jit(walk))


def _clicks(
    corrections: Sequence[tuple[float, float, int]], window_xyxy: Float[np.ndarray, "4"]
) -> tuple[Float[np.ndarray, "c 2"], Float[np.ndarray, " c"]]:
    """Corrections in the crop, padded with clicks that do nothing."""
    count = -(-len(corrections) // CLICKS) * CLICKS
    places, signs = np.zeros((count, 2), np.float32), np.zeros(count, np.float32)
    for number, (x, y, sign) in enumerate(corrections):
        places[number] = to_crop(np.array([[x, y]], np.float64), window_xyxy, False)[0]
        signs[number] = np.sign(sign)
    return places, signs
