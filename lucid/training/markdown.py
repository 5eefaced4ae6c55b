"""Text of customers within Markdown of ours, as nothing but text."""

import string

_INERT = ",%/'"
"""Punctuation that means nothing in any Markdown: a link needs its colon, full stop or @, which are escaped."""
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}
_ESCAPES = {ord(mark): "\\" + mark for mark in string.punctuation if mark not in _INERT} | {
    ord(blank): f"&#{ord(blank)};" for blank in "\t\n\r\u2028\u2029"
}
_BLANKS = "".join(map(chr, (*range(9, 14), 32, 160, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F)))
_BLANKS += "\u3000\ufeff"


def escaped(text: str) -> str:
    """Markdown that shows a text as it is, wherever it stands: no link, image, HTML, emphasis, break or new cell.

    Backslashes keep also those readers from making links of bare addresses that do so in the end, `marked` among them,
    which the pages of Prefect use; of character references these know few, so only blanks that would be lost, or end a
    line for JavaScript, become such. Control characters, for which there is no Markdown, are shown as lost.
    """
    text = printable(text)
    inner = text.strip(_BLANKS)
    before, _, after = text.partition(inner) if inner else (text, "", "")
    return _references(before) + inner.translate(_ESCAPES) + _references(after)


def printable(text: str) -> str:
    """A text whose control characters, which neither Markdown nor XML can hold, are shown as lost."""
    return text.translate(_CONTROLS)


def _references(blanks: str) -> str:
    return "".join(f"&#{ord(blank)};" for blank in blanks)
