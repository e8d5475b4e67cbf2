"""Decoding: every mode a photograph may come in, and what people are told about broken files."""

import io

import numpy as np
import pytest
from PIL import Image

from exits_jax.annotations import ImageRecord
from exits_jax.data import images
from exits_jax.errors import UserError

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


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0, 3e6])
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
    with pytest.raises(UserError, match=r"image 5 \(a\.png\).*images folder"):
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
