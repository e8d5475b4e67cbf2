"""The folder of images: which of its files an entry of an annotation file means."""

import os
import pathlib

from exits_jax.errors import UserError


class ImageFolder:
    """A folder of images, looked into once.

    Attributes:
      path: the folder.
      exif: the annotated frame of its turned photographs, as `ImageRecord.exif`.
    """

    def __init__(self, path: str | os.PathLike, exif: str = "auto") -> None:
        """Raises UserError where there is no such folder."""
        if not os.path.isdir(path):
            raise UserError(f"{os.fspath(path)}: there is no such folder of images")
        self.path = pathlib.Path(path)
        self.exif = exif

    def find(self, names: list[str]) -> pathlib.Path:
        """The first of the names that exists in the folder, with or without its own folders.

        Where none exists, the path of the first name: whoever opens it can say what is missing.
        """
        candidates = [*names, *(os.path.basename(name) for name in names)]
        for name in candidates:
            path = os.path.join(self.path, name)
            if os.path.isfile(path):
                return pathlib.Path(path)
        return self.path / names[0]


def image_folder(images: str | os.PathLike | None, exif: str = "auto") -> ImageFolder | None:
    """The image folder of a path; None where none is given.

    Raises:
      UserError: it is not a folder.
    """
    return ImageFolder(images, exif) if images is not None and os.fspath(images) else None
