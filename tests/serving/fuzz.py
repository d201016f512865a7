"""Broken pictures and broken requests, many of them: ``python -m tests.serving.fuzz --inputs 100000 BUNDLE``.

Half of the inputs go to the worker's own function, half over sockets to a service in this process; `mutate` makes both
from valid ones. What must hold for each: an answer or one line of why not. What must hold for all: nothing reported by
the service, no more files, threads, connections or reserved bytes than before, and no growth of memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import InputError
from edgedefend.serving.answers import Options, classify_picture
from edgedefend.serving.server import Server, keep_decoders_quiet, listen, make_service

INTERESTING = (b"\0", b"\xff", b"\xff\xda", b"\xff\xd9", b"IDAT", b"\r\n", b"\r\n\r\n", b"--b", b":", b"%00")
STATUSES = {200, 400, 403, 404, 405, 408, 411, 413, 431, 503}
CLIENTS = 16


def valid_pictures() -> list[bytes]:
    """Small pictures of all formats, grey, progressive, 16 bit and with alpha among them."""
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 256, (6, 7, 3), np.uint8), (40, 33))
    grey, deep = image[..., 0], image.astype(np.uint16) * 257
    alpha = np.dstack([image, grey])
    made = [
        (".jpg", image, []),
        (".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", image, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".jpg", grey, []),
        (".png", image, []),
        (".png", deep, []),
        (".png", alpha, []),
        (".png", grey, [cv2.IMWRITE_PNG_BILEVEL, 1]),
        (".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 60]),
        (".webp", alpha, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        (".bmp", image, []),
        (".bmp", grey, []),
    ]
    return [cv2.imencode(*each)[1].tobytes() for each in made]


def valid_requests(pictures: list[bytes]) -> list[bytes]:
    """Requests of every kind, whole, each closing its connection."""
    png = pictures[4]
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + png
    form += b'\r\n--b\r\nContent-Disposition: form-data; name="draws"\r\n\r\n2\r\n--b--\r\n'

    def request(line: bytes, body: bytes = b"", *headers: bytes) -> bytes:
        lines = [line + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    chunked = request(b"POST /v1/classify", b"", b"Transfer-Encoding: chunked")
    return [
        request(b"POST /v1/classify?draws=2&top=1", png),
        request(b"POST /v1/stages?draws=2", png, b"Content-Type: image/png"),
        request(b"POST /v1/classify", form, b"Content-Type: multipart/form-data; boundary=b"),
        chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(png), png),
        request(b"POST /v1/classify", png, b"Expect: 100-continue"),
        request(b"GET /v1/model", b"", b"Authorization: Bearer x", b"Origin: http://localhost"),
        request(b"GET /page/page.js"),
        request(b"GET /metrics", b"", b"Upgrade: websocket"),
    ]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a few places: bits, bytes, lengths, cuts, repetitions; the beginning, where the headers are, the most."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        span = len(changed) if rng.random() < 0.4 else min(len(changed), 120)
        place = int(rng.integers(0, max(1, span)))
        kind = rng.integers(0, 7)
        if kind == 0 and changed:
            changed[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1 and changed:
            changed[place] = int(rng.integers(0, 256))
        elif kind == 2:
            changed[place:place] = INTERESTING[int(rng.integers(0, len(INTERESTING)))]
        elif kind == 3:
            del changed[place : place + int(rng.integers(1, 30))]
        elif kind == 4:
            changed[place : place + 4] = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65536])).to_bytes(4, "big")
        elif kind == 5:
            changed[place:place] = changed[place : place + int(rng.integers(1, 60))] * int(rng.integers(1, 4))
        elif rng.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def fuzz_pictures(classifier: Classifier, count: int, rng: np.random.Generator) -> Counter[str]:
    """Give `count` broken pictures to what a worker runs."""
    seen: Counter[str] = Counter()
    valid = valid_pictures()
    for number in range(count):
        data = mutate(valid[number % len(valid)], rng)
        try:
            record = classify_picture(classifier, data, Options(), max_pixels=4_000_000)
        except InputError as error:
            assert "\n" not in str(error)
            seen["refused"] += 1
        else:
            assert 0 <= record["score"] <= 1
            seen["classified"] += 1
    return seen


def _exchange(port: int, data: bytes) -> bytes:
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as channel:
        try:
            channel.sendall(data)
            while True:
                try:
                    block = channel.recv(1 << 16)
                except TimeoutError:
                    # The service waits for the rest of it, as it should: say that there is none.
                    channel.settimeout(60)
                    channel.shutdown(socket.SHUT_WR)
                    continue
                if not block:
                    break
                received += block
        except ConnectionError:
            pass
    return received


def fuzz_requests(port: int, count: int, rng: np.random.Generator) -> Counter[str]:
    """Send `count` broken requests, and check that each answer is one that the service gives."""
    seen: Counter[str] = Counter()
    valid = valid_requests(valid_pictures())
    requests = [mutate(valid[number % len(valid)], rng) for number in range(count)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        for received in clients.map(partial(_exchange, port), requests):
            for status in map(int, re.findall(rb"HTTP/1\.1 (\d{3}) ", received)):
                assert status in STATUSES | {100}, received[:500]
                seen[str(status)] += 1
            assert b"Traceback" not in received
            seen["silent"] += not received
    return seen


def resident_kb() -> int:
    """Resident memory of this process."""
    gc.collect()
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def run(bundle: Path, inputs: int, seed: int, *, parts: int = 10) -> Iterator[str]:
    """Yield a line a part; raise AssertionError for what must not be."""
    loaded = load_bundle(bundle)
    rng = np.random.default_rng(seed)
    classifier = Classifier(loaded, threads=1)
    reported: list[str] = []
    server = Server(make_service(loaded, threads=1, waiting=CLIENTS), listen("127.0.0.1", 0), report=reported.append)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        memory = []
        for part in range(parts):
            began, each = time.monotonic(), inputs // parts // 2
            pictures, requests = fuzz_pictures(classifier, each, rng), fuzz_requests(server.port, each, rng)
            deadline = time.monotonic() + 60
            while server.server_state.connections or server.service.bodies.used or server.service.pool.busy:
                assert time.monotonic() < deadline, "something is left over"
                time.sleep(0.05)
            assert not reported, reported
            memory.append(resident_kb())
            files = len(list(Path("/proc/self/fd").iterdir()))
            yield (
                f"part {part + 1} of {parts}: pictures {dict(pictures)}, answers {dict(sorted(requests.items()))}, "
                f"{files} files, {memory[-1]} kB, {time.monotonic() - began:.0f} s"
            )
            if part == 0:
                files_before = files
            assert files <= files_before + 2, "files are left open"
        half = memory[len(memory) // 2 :]
        # The allocator settles in the first half; afterwards a leak of 100 bytes an input would show.
        assert half[-1] - half[0] <= max(2000, inputs // 2 * 100 // 1000), f"memory grows: {memory}"
    finally:
        server.stop()
        thread.join(30)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    keep_decoders_quiet()
    for line in run(arguments.bundle, arguments.inputs, arguments.seed):
        print(line, flush=True)
    print(f"{arguments.inputs} inputs: nothing wrong")
    sys.exit(0)
