"""What NATS does not permit on one connection.

It says so beside the answers, naming the subject and not who used it, and answers nothing: a subscription is just not
there, a request just not heard. Here both are brought together.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final

from nats.aio.msg import Msg

from schemas.errors import SubjectForbidden

_VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


class Forbidden:
    """Subjects are compared in lower case, as nats-py tells of them. `whose`: of which user and server, in messages."""

    def __init__(self, whose: str, inbox: str) -> None:
        self._whose = whose
        self._inbox = inbox.lower() + "."
        self._subscriptions: set[str] = set()
        """made in vain"""
        self._deaf = ""
        """why no answer can reach us, if so"""
        self._asking: dict[str, dict[asyncio.Task[Any], str]] = {}
        """by subject: who waits for an answer, and why it will not come, once he was told"""

    def allow(self, subject: str) -> None:
        """It is subscribed to (again): what was said before counts no more."""
        self._subscriptions.discard(subject.lower())

    def reconnected(self) -> None:
        self._deaf = ""

    def check(self, subject: str) -> None:
        """Raises SubjectForbidden when it was subscribed to in vain."""
        if subject.lower() in self._subscriptions:
            raise self._error(f"subscribe {subject}")

    async def guard(self, subject: str, asking: Coroutine[Any, Any, Msg]) -> Msg:
        """The answer. Raises SubjectForbidden as soon as NATS says so: whoever asks is then cancelled, as asyncio's own
        time-outs do, which is cheaper than a task for each request."""
        task = asyncio.current_task()
        assert task is not None
        if self._deaf:
            asking.close()
            raise self._error(self._deaf)
        alike = self._asking.setdefault(subject.lower(), {})
        alike[task], cancelling = "", task.cancelling()
        try:
            answer = await asking
            if task.cancelling() > cancelling:  # asyncio.wait_for, in nats-py, loses a cancel that meets the answer
                raise asyncio.CancelledError
            return answer
        except asyncio.CancelledError:
            if not alike[task] or task.cancelling() > cancelling + 1:
                raise
            raise self._error(alike[task]) from None
        finally:
            if alike.pop(task):
                task.uncancel()
            if not alike:
                self._asking.pop(subject.lower(), None)

    def heard(self, error: str) -> str:
        """What the error forbids, which ends those who wait for it; empty: it forbids nothing."""
        violation = _VIOLATION.search(error)
        if violation is None:
            return ""
        what, subject = violation.groups()
        if what == "publish":
            told, vain = f"publish {subject}", [self._asking.get(subject, {})]
        else:
            self._subscriptions.add(subject)
            told, vain = f"subscribe {subject}", []
            if subject.startswith(self._inbox):
                told = self._deaf = f"subscribe {subject}, where answers come"
                vain = list(self._asking.values())
        for alike in vain:
            for task in [t for t, before in alike.items() if not before]:
                alike[task] = told
                task.cancel()
        return told

    def _error(self, told: str) -> SubjectForbidden:
        return SubjectForbidden(
            f"{self._whose} may not {told}: see the user's permissions in nats-server's configuration; 'kilonova "
            "nats-permissions' prints what an agent needs"
        )
