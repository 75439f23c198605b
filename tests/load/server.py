"""A chat server that costs as little as possible: chunks are encoded before the clock starts, HTTP is written by hand.

    python -m tests.load.server 200 0.02     chunks per answer, seconds between two; prints its port

It runs in a process of its own, so that what is measured in the client is the client.
"""

from __future__ import annotations

import contextlib
import json
import sys

import trio

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-request-id: req_1\r\n\r\n"
)


def event(choices: list[dict[str, object]], usage: dict[str, object] | None = None) -> bytes:
    """One event in one HTTP chunk, as OpenAI sends it without padding."""
    base = {"id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz", "object": "chat.completion.chunk", "created": 1764000000}
    more = {"model": "gpt-6-luna", "service_tier": "default", "system_fingerprint": "fp_0123456789"}
    data = b"data: " + json.dumps({**base, **more, "choices": choices, "usage": usage}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(number: int) -> bytes:
    """One token of an answer."""
    delta = {"content": f" word{number % 10}"}
    return event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])


TOKENS = [token(number) for number in range(10)]
LAST = (
    event([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}])
    + event([], {"prompt_tokens": 9, "completion_tokens": 200, "total_tokens": 209})
    + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)


async def answer(stream: trio.SocketStream, chunks: int, gap_s: float) -> None:
    """One connection: request after request, each answered with a stream at an even pace."""
    async with stream:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = await stream.receive_some()
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while len(data) < length:
                data += await stream.receive_some()
            data = data[length:]
            await stream.send_all(HEAD)
            at = trio.current_time()
            for number in range(chunks):
                at += gap_s
                await trio.sleep_until(at)
                await stream.send_all(TOKENS[number % 10])
            await stream.send_all(LAST)


async def main(chunks: int, gap_s: float) -> None:
    """Serve until standard input ends, which it does with the process that started this one."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    sys.stdout.write(f"{listener.socket.getsockname()[1]}\n")
    sys.stdout.flush()

    async def handle(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await answer(stream, chunks, gap_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), float(sys.argv[2]))
