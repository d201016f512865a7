"""What schemathesis sends where the OpenAPI document asks for an image: real ones, since any other bytes are refused.

Loaded by ``schemathesis run`` through SCHEMATHESIS_HOOKS (see test_openapi.py).
"""

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies as st

KINDS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/bmp": ".bmp"}


@st.composite
def images(draw: st.DrawFn, suffix: str | None = None) -> bytes:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    suffix = suffix or draw(st.sampled_from(sorted(KINDS.values())))
    level = draw(st.integers(0, 255))
    return cv2.imencode(suffix, np.full((height, width, 3), level, np.uint8))[1].tobytes()


for kind, suffix in KINDS.items():
    schemathesis.openapi.media_type(kind, images(suffix))
schemathesis.openapi.media_type("application/octet-stream", images())
schemathesis.openapi.format("binary", images())
