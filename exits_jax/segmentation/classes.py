"""Which categories of a file are the classes of a network, and in which order.

Category ids may have holes and come in any order, so a class is known by its category's id and
name, and both are kept with the parameters.
"""

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exits_jax.annotations import Annotations
from exits_jax.annotations.summary import counted
from exits_jax.system.errors import UserError

REST = "*"  # in `segmentation.classes`: one class of all categories that are not named
KEY = "segmentation.classes"
SHOWN = 5  # names that a message lists


@dataclass(frozen=True)
class Classes:
    """The classes of a network; a class is its position here.

    Attributes:
      ids: category ids; what predictions of the class are written with.
      names: of the categories.
      rest: whether the last class stands for every category that is not among the others.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    rest: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, category_id: int) -> int | None:
        """The class of a category; None where it has none."""
        named = self.ids[:-1] if self.rest else self.ids
        if category_id in named:
            return named.index(category_id)
        return len(named) if self.rest else None

    def record(self) -> dict[str, Any]:
        """As it is kept with the parameters, in JSON; `classes_from` reads it."""
        return {"ids": [*self.ids], "names": [*self.names], "rest": self.rest}


def classes_from(record: dict[str, Any]) -> Classes:
    """The inverse of `Classes.record`."""
    return Classes(tuple(record["ids"]), tuple(record["names"]), bool(record["rest"]))


def classes_of(annotations: Annotations, chosen: Sequence[str] = ()) -> Classes:
    """The classes that `segmentation.classes` chooses out of a file's categories.

    Args:
      annotations: of the file.
      chosen: names, in the order of the classes; "*" adds one class of all the others, which comes
        last, is called "object" where it is the only one and "other" beside named ones, and has the
        first id from 0 that is not theirs. Empty: every category, by ascending id; two of one name
        and different ids are two classes.

    Raises:
      UserError: a name is no category of the file, or that of several, or is given twice.
    """
    if not chosen:
        ids = tuple(sorted(annotations.categories))
        return Classes(ids, tuple(annotations.categories[key] for key in ids))
    named = tuple(name for name in chosen if name != REST)
    ids = tuple(_id_of(name, annotations) for name in named)
    twice = [name for name, count in collections.Counter(chosen).items() if count > 1]
    if twice:
        raise UserError(f"{KEY} names {twice[0]!r} twice, expected each class once")
    if REST not in chosen:
        return Classes(ids, named)
    free = next(key for key in range(len(ids) + 1) if key not in ids)
    return Classes((*ids, free), (*named, "other" if named else "object"), rest=True)


def same_classes(saved: Classes, found: Classes, where: str) -> None:
    """Refuses classes that are not those of a trained network.

    Args:
      saved: the network's.
      found: those of a file, chosen as the network's were.
      where: what the message calls them by, such as the file's name.

    Raises:
      UserError: they differ; names the first few that do.
    """
    if saved == found:
        return
    known, here = (dict(zip(x.ids, x.names, strict=True)) for x in (saved, found))
    differ = [
        f"category {key} is {_shown(here, key)}, the network's is {_shown(known, key)}"
        for key in sorted({*known, *here})
        if known.get(key) != here.get(key)
    ]
    if not differ:
        differ = [f"they are {_kind(found)}, the network's {_kind(saved)}"]
    more = f"; {len(differ) - SHOWN:,} more" if len(differ) > SHOWN else ""
    raise UserError(
        f"{where}: its classes are not those of the trained network: "
        f"{'; '.join(differ[:SHOWN])}{more}; use annotations with the same categories, or train "
        "anew in another workdir"
    )


def _shown(names: dict[int, str], key: int) -> str:
    return repr(names[key]) if key in names else "absent"


def _kind(classes: Classes) -> str:
    last = f", the last one of all other categories ({REST!r})" if classes.rest else ""
    return f"{counted(len(classes), 'class', 'classes')} in the order {[*classes.ids]}{last}"


def _id_of(name: str, annotations: Annotations) -> int:
    """The category of that name.

    Raises:
      UserError: there is none, or more than one.
    """
    found = [key for key, known in annotations.categories.items() if known == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{KEY} names {name!r}, which is the name of the categories {sorted(found)} of "
            f"{annotations.file}, expected one; rename them"
        )
    names = sorted(set(annotations.categories.values()))
    more = ", ..." if len(names) > SHOWN else ""
    raise UserError(
        f"{KEY} names {name!r}, which is no category of {annotations.file}: it has "
        f"{', '.join(map(repr, names[:SHOWN]))}{more}"
    )
