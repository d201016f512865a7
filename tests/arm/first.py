"""The first prediction of a process on a board, watched: what came from a cache, what LLVM compiled, the answer.

``python -m tests.arm.first BUNDLE`` prints one line of JSON. Compilations are counted by Numba's own events (every
pass through its compiler, inlined functions included); the libraries that LLVM has made machine code for are named.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time


def main(bundle_path: str) -> None:
    """Classify the golden image of a bundle with its golden grid."""
    begin = time.perf_counter()
    from numba.core import codegen, event

    compilations = event.RecordingListener()
    event.register("numba:compile", compilations)
    finished = []
    finalize = codegen.JITCodeLibrary.finalize

    def counted(library: codegen.JITCodeLibrary) -> None:
        finished.append(library.name)
        finalize(library)

    codegen.JITCodeLibrary.finalize = counted

    from edgedefend.bundle import load_bundle
    from edgedefend.classifier import Classifier
    from edgedefend.jit import cpu_parts
    from edgedefend.warmup import cache_statistics

    bundle = load_bundle(bundle_path)
    golden = bundle.golden()
    classifier = Classifier(bundle, threads=1)
    view = classifier.interpreter.input_view()
    classifier.prepare_into(golden.image, view[0], grid=golden.grid)
    tensor = view[0].tobytes()
    del view
    output = classifier.interpreter.invoke()[0]
    seconds = time.perf_counter() - begin
    hits, misses = cache_statistics()
    answer = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "parts": sorted(cpu_parts()),
        "found": hits,
        "missed": misses,
        "compiled": len(compilations.buffer) // 2,  # a start and an end each
        "linked": finished,
        "tensor": hashlib.sha256(tensor).hexdigest(),
        "label": bundle.labels[int(output.argmax())],
        "seconds": round(seconds, 2),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
