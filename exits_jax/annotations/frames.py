"""EXIF orientations: on which frame of a turned photograph its annotations were drawn."""

import pathlib

from PIL import ExifTags, Image

from exits_jax.annotations.records import BadItem, ImageRecord

FRAMES = ("displayed", "stored")  # in the order in which "auto" tries them
EXIF = ("auto", *FRAMES)
QUARTER_TURNS = (5, 6, 7, 8)
# How the pixels of an orientation become what is displayed ...
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# ... and back: all but two undo themselves.
BACK = TURNS | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

Size = tuple[int, int]
Sizes = dict[str, Size]  # by frame


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1 if none can be read.

    Loading changes what is known: Pillow turns a TIFF when loading it, and forgets how; a PNG may
    have its EXIF data after the pixels.
    """
    try:
        # Not PngImageFile's own, which decodes the image.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block is not a reason to refuse the pixels
        return 1
    return orientation if orientation in TURNS else 1


def frame_sizes(image: Image.Image, orientation: int, size: Size | None = None) -> Sizes:
    """Width and height of an image in each of `FRAMES`.

    Args:
      image: as `Image.open` returns it, or loaded.
      orientation: of `orientation_of`.
      size: `image.size` before the image was loaded at a smaller size, if it was.
    """
    size = size or image.size
    other = size[::-1] if orientation in QUARTER_TURNS else size
    if comes_turned(image):
        return {"displayed": size, "stored": other}
    return {"displayed": other, "stored": size}


def comes_turned(image: Image.Image) -> bool:
    """Whether Pillow's size and pixels of an image are the displayed ones."""
    return image.format == "TIFF"


def in_frame(image: Image.Image, orientation: int, frame: str, turned: bool) -> Image.Image:
    """A loaded image in the frame asked for; `turned` says whether it is the displayed one."""
    if orientation == 1 or turned == (frame == "displayed"):
        return image
    return image.transpose((BACK if turned else TURNS)[orientation])


def fitting_frame(sizes: Sizes, record: ImageRecord) -> str | None:
    """The frame that the annotations of an image mean; None if it does not have the stated size.

    Points and boxes of a turned photograph may have been drawn on the image as displayed or on the
    pixels as stored. `record.exif` says which, or, where it is "auto", the stated size does. Where
    both fit (half turns, mirror images, square images) "auto" takes the displayed one.
    """
    frames = FRAMES if record.exif == "auto" else (record.exif,)
    stated = (record.width, record.height)
    return next((frame for frame in frames if sizes[frame] == stated), None)


def check_frame(sizes: Sizes, record: ImageRecord) -> str:
    """The frame that the annotations of an image mean, of `fitting_frame`.

    Raises:
      UserError: it does not have the stated size.
    """
    frame = fitting_frame(sizes, record)
    if frame is not None:
        return frame
    frame = "stored" if record.exif == "stored" else "displayed"
    width, height = sizes[frame]
    fits = (record.width, record.height) in sizes.values()
    other = f", or data.exif=auto in place of {record.exif}" if fits else ""
    raise BadItem(
        "image_size",
        f"{record.path or record.file_name}: the image is {width} x {height} pixels (as {frame}),"
        f" image {record.id} of the annotation file says {record.width} x {record.height}; boxes"
        f" and points would be misplaced: use the images that were annotated{other}",
    )


def ambiguity(path: pathlib.Path, orientation: int) -> str:
    """The text about an image whose frame its size does not tell."""
    return (
        f"{path} has EXIF orientation {orientation}, and its size does not tell whether it was"
        " annotated as displayed, which is assumed, or on the pixels as stored:"
        " --config.data.exif=displayed or =stored decides"
    )


def is_ambiguous(sizes: Sizes, orientation: int, record: ImageRecord) -> bool:
    """Whether both frames of an image have the size in question, and no setting decides."""
    either = record.unclear or sizes["displayed"] == sizes["stored"]
    return record.exif == "auto" and orientation != 1 and either
