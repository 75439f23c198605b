"""WebSocket framing without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from aura.server.frames import NUMPY_FROM, Odd, Splitter, encode, unmask
from tests.ws_client import masked


@given(
    st.binary(max_size=40) | st.binary(min_size=NUMPY_FROM - 2, max_size=NUMPY_FROM + 9),
    st.binary(min_size=4, max_size=4),
)
def test_unmasking_is_the_xor_with_the_repeated_key(data: bytes, key: bytes) -> None:
    assert unmask(data, key) == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_wsproto_reads_every_length_we_encode(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(encode("x" * size) + encode(b"y" * size))
    text, binary = "", b""
    for event in client.events():
        if isinstance(event, TextMessage):
            text += event.data
        elif isinstance(event, BytesMessage):
            binary += event.data
    assert (text, binary) == ("x" * size, b"y" * size)


@settings(max_examples=60)
@given(st.binary(max_size=200), st.booleans())
def test_the_splitter_never_fails_on_junk(junk: bytes, odd: bool) -> None:
    splitter = Splitter(1000, junk)
    if odd:
        splitter.feed(masked(1, b"begin", fin=False) + splitter.rest())
        assert splitter.next() is Odd.MESSAGE
        for _ in range(len(junk) + 10):
            _, then, hungry = splitter.pass_on()
            if then or hungry:
                break
        else:
            pytest.fail("no progress")
