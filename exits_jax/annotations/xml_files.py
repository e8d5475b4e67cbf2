"""XML from files that may hold anything."""

from xml.etree import ElementTree

from exits_jax.annotations.numbers import finite_number
from exits_jax.annotations.records import BadItem
from exits_jax.system.errors import one_line


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root element of an XML file.

    Raises:
      BadItem: it is not well-formed, or defines entities: no annotation format needs them, and they
        can blow up a reader.
    """
    if b"<!ENTITY" in content.replace(b"\0", b""):  # UTF-16 has zeros between letters
        raise BadItem("bad_xml", "it defines entities")
    try:
        return ElementTree.fromstring(content)
    except (ValueError, LookupError, ElementTree.ParseError) as error:
        text = f"not valid XML ({one_line(error)}); is the file truncated?"
        raise BadItem("bad_xml", text) from error


def number_in(text: str | None) -> float | None:
    """A number written as text; None if there is none, or it is not finite."""
    try:
        return finite_number(float(text or ""))
    except ValueError:
        return None
