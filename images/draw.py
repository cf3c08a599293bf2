"""Draw the gallery of README.md: each picture by the line of code beside it.

    python images/draw.py [NAME ...]

It needs optvis[imagenet,plot] and scikit-image, and takes some minutes. Without names all pictures are drawn.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from skimage import data

import optvis
from optvis import Class, attribute, collage, load_network
from optvis.attribution import compare

HERE = Path(__file__).parent
ROW = re.compile(r"^\| .*? <br> `(?P<code>.+?)` \| !\[\]\(images/(?P<name>[\w.]+)\) \|$", re.MULTILINE)
CLASSES = ["goldfish", "bald eagle", "flamingo", "golden retriever", "monarch", "teapot", "strawberry", "volcano"]


def main(names: list[str]) -> None:
    """Draw the pictures of these names."""
    known: dict[str, Any] = {name: getattr(optvis, name) for name in optvis.__all__}
    known |= {"network": load_network("efficientnet_lite0"), "data": data, "Image": Image, "compare": compare}
    known |= {"attribute": attribute, "collage": collage}
    lines = {match["name"]: match["code"] for match in ROW.finditer((HERE.parent / "README.md").read_text())}
    if not names or "classes.jpg" in names:
        collage(known["network"], Class("", CLASSES)).save(HERE / "classes.jpg")
    for name, code in lines.items():
        if not names or name in names:
            result = eval(code, known)
            result.save(HERE / name)
            print(HERE / name)


if __name__ == "__main__":
    main(sys.argv[1:])
