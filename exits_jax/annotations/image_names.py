"""Names of image files as other machines write them: their components, and how these compare."""

import os
import re
import unicodedata
from urllib.parse import parse_qs, unquote, urlsplit

from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.image_files import check_file_name

_ENDING = "(?:" + "|".join(ending[1:] for ending in IMAGE_ENDINGS) + ")"
# What tools add to file names, folded: in words what is left, what to remove, what to put there.
# Eight digits that are a date are not Label Studio's prefix.
ADDED = (
    ("their names without spaces around them", re.compile(r"^\s+|\s+$"), ""),
    (
        "their names without Label Studio's prefix",
        re.compile(r"^(?!(?:19|20)\d\d[01]\d[0-3]\d-)[0-9a-f]{8}-(?=.)"),
        "",
    ),
    (
        "their names without Roboflow's additions",
        re.compile(rf"_({_ENDING})(?:_jpg)?\.rf\.[0-9a-z]+\.{_ENDING}$"),
        r".\1",
    ),
    ("their names without a doubled extension", re.compile(rf"(\.{_ENDING})\1$"), r"\1"),
)


def name_parts(name: str) -> tuple[str, ...]:
    """The components of a name that may be a path of any system or an address.

    They never lead out of a folder: drive, host, roots and ".." are removed.

    Raises:
      BadItem: what is left is not a file name.
    """
    path = _address_path(name) if "://" in name or "/local-files/?" in name else _path(name)
    parts: list[str] = []
    for part in re.sub(r"^/?[A-Za-z]:", "", path.replace("\\", "/")).split("/"):
        if part == "..":
            del parts[-1:]  # a/../b is b
        elif part not in ("", "."):
            parts.append(part)
    check_file_name("/".join(parts))
    return tuple(parts)


def is_plain(name: str) -> bool:
    """Whether a name is a relative path with forward slashes, as COCO has it."""
    return "/".join(name_parts(name)) == name


def leads_out(name: str) -> bool:
    """Whether a name is an absolute path, one that climbs, or an address."""
    parts = name.replace("\\", "/").split("/")
    return parts[0] == "" or ".." in parts or parts[0].endswith(":")


def fold(part: str) -> str:
    """A component as it is compared: in one Unicode form and case."""
    return unicodedata.normalize("NFC", part).casefold()


def stem(name: str) -> str:
    """A name without the extension of an image file."""
    root, ending = os.path.splitext(name)
    return root if ending.lower() in IMAGE_ENDINGS else name


def originals(name: str) -> dict[str, str]:
    """What a folded name may have been before a tool added to it, by the way in words."""
    found = {way: added.sub(instead, name) for way, added, instead in ADDED}
    return {way: original for way, original in found.items() if original not in ("", name)}


def _address_path(name: str) -> str:
    """The decoded path in an address; for Label Studio's local files the one in its query."""
    try:
        address = urlsplit(name)
        inner = parse_qs(address.query).get("d")
    except ValueError:
        return name.split("://", 1)[-1]
    return inner[0] if inner and "local-files" in address.path else unquote(address.path)


def _path(name: str) -> str:
    """A name without the query of an address that only begins with its path."""
    path, _, query = name.partition("?")
    ends = [os.path.splitext(end)[1].lower() in IMAGE_ENDINGS for end in (path, name)]
    return path if query and ends == [True, False] else name
