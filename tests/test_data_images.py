"""Decoding: every mode a photograph may come in, and what people are told about broken files."""

import io
import pathlib
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import skimage.data
import tifffile
from annotations_samples import save
from PIL import Image

from exits_jax.annotations import ImageRecord
from exits_jax.annotations.check import inspect_file
from exits_jax.data import images
from exits_jax.system.errors import UserError

RAMP = np.arange(12 * 8, dtype=np.uint8).reshape(8, 12) * 2
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=-1)


def palette_image():
    image = Image.fromarray((RAMP > 100).astype(np.uint8), "P")
    image.putpalette([250, 10, 20, 30, 40, 200])
    return image, np.where(RAMP[..., None] > 100, [30, 40, 200], [250, 10, 20])


def test_path_and_bytes_give_the_same_pixels(tmp_path):
    content = encode(Image.fromarray(COLOUR))
    (tmp_path / "a.png").write_bytes(content)
    for source in (content, tmp_path / "a.png", str(tmp_path / "a.png")):
        found = images.decode_image(source)
        np.testing.assert_array_equal(found, COLOUR)
        assert found.flags.writeable


def test_grey_one_bit_and_palette():
    np.testing.assert_array_equal(images.decode_image(encode(Image.fromarray(RAMP))), grey(RAMP))
    bits = RAMP > 90
    np.testing.assert_array_equal(
        images.decode_image(encode(Image.fromarray(bits))), grey(bits * 255)
    )
    image, expected = palette_image()
    np.testing.assert_array_equal(images.decode_image(encode(image)), expected)
    np.testing.assert_array_equal(images.decode_image(encode(image, "GIF")), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_is_scaled_not_clipped(kind):
    wide = RAMP.astype(np.uint16) * 257
    found = images.decode_image(encode(Image.fromarray(wide), kind))
    np.testing.assert_array_equal(found, grey(RAMP))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_grey_values_of_fewer_bits_than_their_file(kind, bits):
    full = 2**bits - 1
    wide = np.rint(RAMP / 190 * full).astype(np.uint16)  # the ramp ends at 190
    found = images.decode_image(encode(Image.fromarray(wide), kind))
    assert np.abs(found - grey(RAMP / 190 * 255).astype(int)).max() <= 1
    darker = images.decode_image(encode(Image.fromarray(wide // 2 + full // 3), kind))
    assert darker.max() == round(int((wide // 2 + full // 3).max()) / full * 255)  # not stretched


@pytest.mark.parametrize("dtype", [">u2", "<u2", "<i2", "<i4", "<f4"])
def test_twelve_bits_in_any_kind_of_tiff(dtype):
    grey_photo = skimage.data.camera()
    wide = (grey_photo.astype(int) * 16 + 15).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(file, wide, byteorder=dtype[0])
    found = images.decode_image(file.getvalue())
    assert np.abs(found - grey(grey_photo).astype(int)).max() <= 1


def png16(values):
    """A PNG of 16-bit colour, which Pillow does not write."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    height, width, bands = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff16(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="rgb", **options)
    return file.getvalue()


COLOUR_FILES = {
    "png": png16,
    "little": tiff16,
    "big": lambda values: tiff16(values, byteorder=">"),
    "packed": lambda values: tiff16(values, compression="zlib"),
    "tiles": lambda values: tiff16(values, tile=(64, 64)),
}


@pytest.mark.parametrize("kind", COLOUR_FILES)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_sixteen_bit_colour_keeps_its_low_bytes(kind, bits):
    photo = skimage.data.astronaut()[100:200, 150:300]
    wide = np.rint(photo / 255 * (2**bits - 1)).astype(np.uint16)
    found = images.decode_image(COLOUR_FILES[kind](wide))
    assert photo.max() == 255
    assert np.abs(found - photo.astype(int)).max() <= 1


@pytest.mark.parametrize("encoded", [png16, lambda v: tiff16(v, extrasamples=["unassalpha"])])
def test_sixteen_bit_alpha_has_a_range_of_its_own(encoded):
    wide = np.dstack([COLOUR.astype(np.uint16) * 16, np.full(RAMP.shape, 65535, np.uint16)])
    wide[0, 0] = 0  # transparent
    wide[-1, -1, :3] = 4095
    found = images.decode_image(encoded(wide))
    expected = np.rint(wide[..., :3] / 4095 * 255)
    expected[0, 0] = images.BACKGROUND_RGB
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_wide_colours_in_separate_planes_are_refused_not_misread(compression):
    planes = np.moveaxis(COLOUR, -1, 0).astype(np.uint16) * 16
    content = tiff16(planes, planarconfig="separate", compression=compression)
    with pytest.raises(UserError, match="8 bits in separate planes; save it interleaved"):
        images.decode_image(content, name="a.tif")


@pytest.mark.parametrize("values", [RAMP.astype(np.uint16) * 16, COLOUR.astype(np.uint16) * 16])
def test_a_turned_photograph_of_twelve_bits(values):
    options = {"photometric": "rgb"} if values.ndim == 3 else {}
    file = io.BytesIO()
    tifffile.imwrite(file, values, extratags=[(274, "H", 1, 6, True)], **options)
    expected = np.rint((COLOUR if values.ndim == 3 else grey(RAMP)) * (16 / 4095 * 255))
    stored = images.decode_image(file.getvalue(), exif=False)
    np.testing.assert_array_equal(stored, expected)
    np.testing.assert_array_equal(images.decode_image(file.getvalue()), np.rot90(expected, -1))


NARROW = [
    RAMP.astype(np.uint16) * 2 + 7000,  # a thermal camera's
    COLOUR.astype(np.uint16) * 3 + 30_000,
    (RAMP / 10 + 290).astype(np.float32),  # kelvin
]


@pytest.mark.parametrize("values", NARROW, ids=["thermal", "colour", "kelvin"])
def test_values_of_a_narrow_range_are_stretched(values):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **({"photometric": "rgb"} if values.ndim == 3 else {}))
    found = images.decode_image(file.getvalue()).astype(int)
    low, high = values.min(), values.max()
    expected = np.rint((values.astype(float) - low) / (high - low) * 255)
    assert np.abs(found - (expected if values.ndim == 3 else grey(expected))).max() <= 1


SIGNED = {  # what is black and white in a radar's decibels, Hounsfield units and indices
    "decibels": (RAMP / 190 * 30 - 30).astype(np.float32),
    "hounsfield": (RAMP * 8).astype(np.int32) - 1000,
    "index": (RAMP / 95 - 1).astype(np.float32),
}


@pytest.mark.parametrize("filling", [None, -9999], ids=["full", "filled"])
@pytest.mark.parametrize("values", SIGNED.values(), ids=SIGNED)
def test_where_values_are_negative_black_is_the_least(values, filling):
    low, high = float(values.min()), float(values.max())
    expected = np.rint((values.astype(float) - low) / (high - low) * 255)
    values = values.copy()
    if filling is not None:
        values[0], expected[0] = filling, 0  # as maps mark where there is no value
        low, high = values[1:].min(), values.max()
        expected[1:] = np.rint((values[1:].astype(float) - low) / (high - low) * 255)
    file = io.BytesIO()
    tifffile.imwrite(file, values)
    found = images.decode_image(file.getvalue()).astype(int)
    assert np.abs(found - grey(expected)).max() <= 1


@pytest.mark.parametrize("filling", [-0.02, -9999.0], ids=["overshoot", "filled"])
def test_a_little_below_black_is_black(filling):
    values = (RAMP / RAMP.max()).astype(np.float32)
    values[0] = filling
    expected = np.rint(RAMP / RAMP.max() * 255) * (np.arange(8) > 0)[:, None]
    found = images.decode_image(encode(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(found, grey(expected))


def test_alpha_is_never_stretched():
    values = np.dstack([COLOUR.astype(np.uint16) * 257, np.full(COLOUR.shape[:2], 65_000)])
    values[0, 0, 3] = 65_535
    found = images.decode_image(png16(values.astype(np.uint16)))
    assert np.abs(found.astype(int) - COLOUR).max() <= 3


def test_a_few_bright_objects_on_black_stay_as_they_are():
    values = np.full((200, 200), 100, np.uint16)
    values[50:60, 50:60] = 4000
    found = images.decode_image(encode(Image.fromarray(values), "TIFF"))
    assert (found[0, 0, 0], found[55, 55, 0]) == (6, 249)
    values[50:60, 50:60] = 100
    values[::2] += 10
    values[7, 7] = 4000  # a dead pixel hides the picture
    found = images.decode_image(encode(Image.fromarray(values), "TIFF"))
    assert (found[1, 0, 0], found[0, 0, 0], found[7, 7, 0]) == (0, 255, 255)
    flat = images.decode_image(encode(Image.fromarray(np.full((9, 9), 2048, np.uint16)), "TIFF"))
    assert (flat == 128).all()


def test_small_bright_objects_in_noise_are_the_picture():
    values = np.random.default_rng(0).integers(100, 130, (1000, 1000)).astype(np.uint16)
    values[500:520, 500:540] = np.linspace(20_000, 60_000, 40)
    found = images.decode_image(encode(Image.fromarray(values), "TIFF"))
    assert found[0, 0, 0] <= 1
    assert found[510, 505, 0] < found[510, 535, 0]


def looked_at(folder, content):
    """What the check says of the images of these contents, all of the ramp's size."""
    rows = []
    for number, image in enumerate(content):
        (folder / f"{number}.img").write_bytes(image)
        size = {"width": RAMP.shape[1], "height": RAMP.shape[0]}
        rows.append({"id": number, "file_name": f"{number}.img", **size})
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 6]}
    categories = [{"id": 1, "name": "thing"}]
    document = {"images": rows, "annotations": [box], "categories": categories}
    return inspect_file(save(folder, document), folder)


def test_the_check_notes_once_that_images_use_part_of_their_range(tmp_path):
    twelve = encode(Image.fromarray(RAMP.astype(np.uint16) * 16), "TIFF")
    sixteen = encode(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF")
    colour = png16(COLOUR.astype(np.uint16) * 4)
    found = looked_at(tmp_path, [sixteen, twelve, colour, twelve])
    assert found.problems == []
    (note,) = found.notes
    assert note.code == "part_of_range"
    assert "1.img" in note.text
    assert "12 bits" in note.text
    assert note.text.endswith("2 more")


def test_the_check_notes_a_narrow_range(tmp_path):
    found = looked_at(tmp_path, [encode(Image.fromarray(NARROW[0]), "TIFF"), png16(NARROW[1])])
    assert found.problems == []
    (note,) = found.notes
    assert note.code == "narrow_range"
    assert "0.img: its values from 70" in note.text
    assert "of 255 grey levels: they are stretched to all; 1 more" in note.text


def test_the_check_notes_images_that_are_nearly_black(tmp_path):
    black = [Image.fromarray(RAMP // 16), Image.fromarray(COLOUR // 16), Image.new("1", (12, 8))]
    inked = Image.fromarray(np.dstack([COLOUR // 16, RAMP]))  # dark only on black paper
    found = looked_at(tmp_path, map(encode, (*black, inked, Image.fromarray(COLOUR))))
    assert found.problems == []
    (note,) = found.notes
    assert note.code == "dark_image"
    assert "brightest value is 11 of 255" in note.text
    assert note.text.endswith("2 more")


def test_the_check_notes_negative_values(tmp_path):
    kinds = [encode(Image.fromarray(values), "TIFF") for values in SIGNED.values()]
    found = looked_at(tmp_path, kinds)
    assert found.problems == []
    (note,) = found.notes
    assert note.code == "negative_values"
    assert "0.img: its values from -29.97 to" in note.text
    assert note.text.endswith("are black to white; 2 more")


def test_the_check_notes_wide_images_that_are_mostly_black(tmp_path):
    radar = (RAMP / 200).astype(np.float32)
    radar[3, 3] = 40  # a scatterer
    sixteen = np.rint(radar * 1000).astype(np.uint16)
    found = looked_at(tmp_path, [encode(Image.fromarray(v), "TIFF") for v in (radar, sixteen)])
    assert found.problems == []
    (note,) = [note for note in found.notes if note.code == "dark_image"]
    assert "0.img: nearly black: 99.0% of its values are below 16 of 255, as" in note.text
    assert note.text.endswith("; 1 more")


@pytest.mark.parametrize("full", [1.0, 255.0, 4095.0, 65535.0, 3e6])
def test_float_tiff_is_scaled_by_its_range(full):
    values = (RAMP / RAMP.max() * full).astype(np.float32)
    values[0, :2] = np.nan, -7.0
    expected = np.rint(RAMP / RAMP.max() * 255)
    expected[0, :2] = 0
    found = images.decode_image(encode(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(found, grey(expected))


def test_all_black_float_image():
    found = images.decode_image(encode(Image.fromarray(np.zeros((3, 4), np.float32)), "TIFF"))
    assert found.shape == (3, 4, 3)
    assert not found.any()


def test_transparency_is_composited_on_the_background():
    alpha = np.zeros((8, 12), np.uint8)
    alpha[:, 4:8], alpha[:, 8:] = 128, 255
    image = Image.fromarray(np.dstack([COLOUR, alpha]))
    share = alpha[..., None] / 255
    expected = COLOUR * share + np.array(images.BACKGROUND_RGB) * (1 - share)
    assert np.abs(images.decode_image(encode(image)) - expected).max() <= 1
    la = Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(alpha)])
    expected = grey(RAMP) * share + 255 * (1 - share)
    assert np.abs(images.decode_image(encode(la)) - expected).max() <= 1


def test_transparent_palette_entry():
    image, expected = palette_image()
    found = images.decode_image(encode(image, transparency=0))
    expected[RAMP <= 100] = images.BACKGROUND_RGB
    np.testing.assert_array_equal(found, expected)


def test_cmyk_jpeg():
    solid = Image.new("RGB", (16, 16), (200, 40, 90))
    found = images.decode_image(encode(solid.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - [200, 40, 90]).max() <= 6


def with_orientation(orientation, kind="PNG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(Image.fromarray(COLOUR), kind, exif=exif)


# What each orientation stands for: how the stored pixels become the displayed ones.
TURNS = {
    1: COLOUR,
    2: COLOUR[:, ::-1],
    3: COLOUR[::-1, ::-1],
    4: COLOUR[::-1],
    5: COLOUR.transpose(1, 0, 2),
    6: np.rot90(COLOUR, -1),
    7: np.rot90(COLOUR, 2).transpose(1, 0, 2),
    8: np.rot90(COLOUR, 1),
    77: COLOUR,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(orientation):
    content = with_orientation(orientation)
    np.testing.assert_array_equal(images.decode_image(content), TURNS[orientation])
    np.testing.assert_array_equal(images.decode_image(content, exif=False), COLOUR)


def record(path, width, height):
    return ImageRecord(id=5, file_name=path.name, width=width, height=height, path=path)


def test_load_image_takes_the_orientation_that_has_the_stated_size(tmp_path):
    path = tmp_path / "turned.png"
    path.write_bytes(with_orientation(6))
    np.testing.assert_array_equal(images.load_image(record(path, 8, 12)), TURNS[6])
    np.testing.assert_array_equal(images.load_image(record(path, 12, 8)), COLOUR)
    path.write_bytes(with_orientation(3))  # both have the size: as displayed
    np.testing.assert_array_equal(images.load_image(record(path, 12, 8)), TURNS[3])
    with pytest.raises(UserError, match=r"turned\.png: .* 12 x 8 .*image 5 .* 13 x 8"):
        images.load_image(record(path, 13, 8))


def test_load_image_without_a_folder():
    with pytest.raises(UserError, match=r"image 5 \(a\.png\).*image folder"):
        images.load_image(ImageRecord(id=5, file_name="a.png", width=1, height=1, path=None))


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.jpg: no such image"):
        images.decode_image(tmp_path / "none.jpg")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        images.decode_image(tmp_path)
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.jpg: the file is empty"):
        images.decode_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UserError, match=r"text\.jpg: not an image"):
        images.decode_image(tmp_path / "text.jpg")
    with pytest.raises(UserError, match=r"^inner name: not an image"):
        images.decode_image(b"hello", name="inner name")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut\.img: "):
        images.decode_image(path)


def test_decompression_bomb_limit_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    Image.fromarray(COLOUR).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # 96 pixels: over twice the limit
    with pytest.raises(UserError, match=r"big\.png: larger than 80 pixels"):
        images.decode_image(path)


LARGE = """
import sys
from PIL import Image
from exits_jax.annotations.check import check_file
from exits_jax.data.images import decode_image
Image.MAX_IMAGE_PIXELS = 60  # Pillow warns of 96 pixels, and would refuse 121
assert decode_image(sys.argv[1]).shape == (8, 12, 3)
assert check_file(sys.argv[2], sys.argv[3]) == []
"""


@pytest.mark.parametrize("flags", [(), ("-W", "error")])
def test_pillow_says_nothing_of_images_between_its_limits(tmp_path, flags):
    looked_at(tmp_path, [encode(Image.fromarray(COLOUR))])
    paths = tmp_path / "0.img", tmp_path / "annotations.json", tmp_path
    command = [sys.executable, *flags, "-c", LARGE, *map(str, paths)]
    root = pathlib.Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
