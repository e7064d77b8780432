"""nats-py's client, with the manners put right that no option changes."""

import asyncio
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

_BLANK: Final = " \t\n\r\x0b\x0c"


class Connection(Client):  # type: ignore[misc]  # nats-py is untyped
    """Speaks no plain text when TLS is configured, whatever the server offers: nats-py would send credentials to anyone
    who strips `tls_required` from the greeting. And it is never closed by what the server says: nats-py gives up for
    good on nearly every error, such as a user that was missing from NATS's configuration for a moment."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and "tls" in self.options and not info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        error = nats.errors.Error("nats: " + err_msg.strip("'"))
        self._err = error
        await self._error_cb(error)
        if "permissions violation" not in err_msg.lower():
            await self._process_op_err(error)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """As nats-py does it, which looks at every letter of every name of every message."""
        if not raw.isascii():
            found: dict[str, str] = Client._parse_header_lines(raw)
            return found
        lines = [line.partition(":") for line in raw.decode("ascii").split("\r\n")]
        named = [(name.strip(_BLANK), value.strip(_BLANK)) for name, colon, value in lines if colon]
        return {name: value for name, value in named if not name or name.split() == [name]}

    async def settle(self) -> None:
        """Returns once the server has read all that was said before: `flush` alone overtakes what is still queued."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._flush_queue.put(written)
        await written
        await self.flush()
