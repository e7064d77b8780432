"""Regular expressions of users: RE2, which takes time linear in the text whatever the expression.

What linear means still depends on the expression, so that the expressions of one request have a budget, and those that
could hold the event loop are searched for on a thread: RE2 works without the interpreter's lock.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar

import re2
from attrs import define, field, frozen

from runtime.slices import SLICE, kept
from schemas.errors import BadRequest

T = TypeVar("T")

LONGEST: Final = 512
"""characters of the expressions of a request: what they are compared with has at most 255"""
MOST_CLASSES: Final = 4
"""classes of Unicode, such as `\\pL`, in a request: each takes 0.1 ms to be read"""
LARGEST: Final = 1_000
"""instructions of the programs of a request; the pattern of a UUID has 72"""
MEMORY: Final = 128 << 10
"""bytes of a program and of what it remembers; also what bounds the time to compile it, to about 1 ms"""
INLINE: Final = 16
"""instructions, at most, of what is searched for on the event loop: 0.2 ms for the worst text of 255 characters, 2 us
for an ordinary one"""
INLINED: Final = 5
"""items that are searched between two turns of the loop"""
THREADED: Final = 50
"""items that a thread is given at once, so that a request that ended costs no more than these"""


@frozen(eq=False)
class Pattern:
    """Searched for case-insensitively anywhere in a text, as databases do."""

    size: int
    """instructions of its program"""
    _compiled: "re2._Regexp"

    def found_in(self, text: str) -> bool:
        return self._compiled.search(text) is not None


@define(eq=False)
class Patterns:
    """The regular expressions of one request."""

    size: int = field(default=0, init=False)
    """instructions of all of them"""
    _length: int = field(default=0, init=False)
    _classes: int = field(default=0, init=False)

    def compile(self, text: str) -> Pattern:
        """Raises BadRequest for what RE2 does not take, and when the expressions together are too long."""
        self._length += len(text)
        self._classes += text.lower().count("\\p")
        if self._length > LONGEST or self._classes > MOST_CLASSES:
            raise _too_complex(text)
        compiled, why = _compile(text)
        if compiled is None:
            raise BadRequest(f"Invalid regular expression {text}: {why}")
        self.size += compiled.size
        if self.size > LARGEST:
            raise _too_complex(text)
        return compiled

    async def kept(self, items: Sequence[T], test: Callable[[T], bool]) -> list[T]:
        """The items that pass a test that searches for these patterns."""
        if self.size <= INLINE:
            return await kept(items, test, INLINED if self.size else SLICE)
        loop, found = asyncio.get_running_loop(), []
        for start in range(0, len(items), THREADED):
            part = items[start : start + THREADED]
            found += await loop.run_in_executor(_searcher(), _passing, part, test)
        return found


def _passing(items: Sequence[T], test: Callable[[T], bool]) -> list[T]:
    return [item for item in items if test(item)]


def _compile(text: str) -> tuple[Pattern | None, str]:
    """The pattern, or why there is none."""
    try:
        compiled = re2.compile(text, _options())
    except re2.error as error:
        why = error.args[0] if error.args else ""
        return None, why.decode(errors="replace") if isinstance(why, bytes) else str(why)
    except UnicodeEncodeError:
        return None, "it has characters that no text has"
    return Pattern(compiled.programsize, compiled), ""


@cache
def _options() -> "re2.Options":
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MEMORY
    return options


@cache
def _searcher() -> ThreadPoolExecutor:
    """One thread: the expressions of all users together take one processor at most."""
    return ThreadPoolExecutor(1, "patterns")


def _too_complex(text: str) -> BadRequest:
    return BadRequest(
        f"Regular expression {text} is too complex: those of a request may have {LONGEST} characters, {MOST_CLASSES} "
        f"classes of Unicode and {LARGEST} instructions together"
    )
