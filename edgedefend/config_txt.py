"""A block of our own in a Raspberry Pi's config.txt: put in, taken out, every other byte left as it is.

config.txt is edited by people and by raspi-config: comments, sections such as ``[pi4]``, line ends of Windows (it is
on a FAT partition), no line end at the end. So nothing of theirs is parsed or rewritten. The block stands at the end,
where the last setting of a key wins, between two marks; `remove_block(insert_block(text, lines)) == text`, always.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgedefend.errors import InputError

__all__ = ["insert_block", "remove_block"]

_BEGIN = b"# >>> edgedefend >>>"
# The text before had no line end at its end: the one before the mark is ours.
_BEGIN_JOINED = b"# >>> edgedefend >>> (joined)"
_END = b"# <<< edgedefend <<<"


def _find(text: bytes, name: str) -> tuple[int, int, int] | None:
    """Return (start, end, joint) of the block, marks and the last line end included; None where there is none.

    `joint` is the length of the line end before the block that is ours as well.
    """
    begins, ends = [], []
    position = 0
    for number, line in enumerate(text.split(b"\n"), 1):
        stripped = line.rstrip(b"\r")
        if stripped in (_BEGIN, _BEGIN_JOINED):
            joint = len(line) - len(stripped) + 1 if stripped == _BEGIN_JOINED else 0
            begins.append((position, joint, number))
        elif stripped == _END:
            ends.append((min(position + len(line) + 1, len(text)), number))
        position += len(line) + 1
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or begins[0][0] >= ends[0][0]:
        number = min([number for *_, number in begins] + [number for *_, number in ends])
        raise InputError(
            f"{name}: line {number}: the marks of edgedefend are damaged, expected one "
            f"{_BEGIN.decode()!r} and one {_END.decode()!r} after it: take those lines out by hand"
        )
    return begins[0][0], ends[0][0], begins[0][1]


def remove_block(text: bytes, name: str = "config.txt") -> bytes:
    """Return `text` without our block, as it was before `insert_block`.

    Raises
    ------
    InputError
        If only a part of the marks is there.
    """
    found = _find(text, name)
    if found is None:
        return text
    start, end, joint = found
    before, after = text[:start], text[end:]
    # Where something was written after the block since, the line end has become theirs.
    return (before if after else before[: len(before) - joint]) + after


def insert_block(text: bytes, lines: Sequence[str], name: str = "config.txt") -> bytes:
    """Return `text` with one block of `lines` at its end, an older block replaced; no lines, no block.

    Raises
    ------
    InputError
        If only a part of the marks is there.
    """
    text = remove_block(text, name)
    if not lines:
        return text
    end = b"\r\n" if b"\r\n" in text else b"\n"
    joined = bool(text) and not text.endswith(b"\n")
    block = [_BEGIN_JOINED if joined else _BEGIN, *(line.encode() for line in lines), _END]
    return text + (end if joined else b"") + b"".join(line + end for line in block)
