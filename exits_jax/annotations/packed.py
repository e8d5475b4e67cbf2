"""A document's rows kept small while masks are made."""

import json
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, overload


class PackedRows(Sequence[Any]):
    """JSON values as text, parsed again whenever one is asked for: a quarter of their memory.

    Raises:
      ValueError: a row holds NaN or infinity, which JSON does not allow.
    """

    def __init__(self, rows: Iterable[Any]) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        for row in rows:
            self._text += json.dumps(row, separators=(",", ":"), allow_nan=False).encode()
            self._ends.append(len(self._text))

    @property
    def text(self) -> memoryview:
        """All rows, one after the other, for digests."""
        return memoryview(self._text).toreadonly()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return json.loads(self._text[self._ends[number] : self._ends[number + 1]])
