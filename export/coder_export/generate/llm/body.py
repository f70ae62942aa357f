"""Replies of a server are read up to a size: one without end would take all the memory there is.

Bytes are counted as they are sent: of a compressed reply those before it is unpacked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2 as httpx
else:
    try:
        import httpx2 as httpx  # openai's since its version 3
    except ImportError:
        import httpx

LONGEST = 16 << 20
"""Bytes of a reply's body: a thousand times what any of our questions is answered with."""


async def cap(response: httpx.Response) -> None:
    """A response hook: reading the body fails past ``LONGEST`` bytes."""
    response.stream = _Capped(response.stream)


class _Capped(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > LONGEST:
                raise ValueError(f"its answer is longer than {LONGEST >> 20} MiB")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
