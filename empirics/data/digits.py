"""Sequential digits: scikit-learn's bundled 8 × 8 images of handwritten digits, read pixel by pixel. No download.

1797 images of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, CC BY 4.0), intensities 0..16.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInput, MissingPackage

LEVELS = 17
"""Intensities 0..16 are the tokens 0..16; token 17 + i stands for the i-th class of a task."""

Split = Literal["train", "validation", "test"]
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Digits:
    """Images of some classes.

    Attributes
    ----------
    pixels:
        (n, 64), int64, row by row.
    labels:
        (n,), position of the class among the task's classes.
    sha256:
        Of all images and labels that scikit-learn holds.
    """

    pixels: Tensor
    labels: Tensor
    sha256: str


def digits(classes: tuple[int, ...], split: Split) -> Digits:
    """The images of some classes in one split; splits are disjoint and the same everywhere.

    Raises
    ------
    MissingPackage
        scikit-learn is not installed.
    InvalidInput
        No class, a repeated one, one outside of 0..9, or an unknown split.
    """
    if split not in SHARES:
        raise InvalidInput(f"split is {split!r}, expected {', '.join(SHARES)}")
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(range(10)):
        raise InvalidInput(f"classes is {classes!r}, expected different digits among 0..9")
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise MissingPackage("scikit-learn", "empirics", "it holds the digits") from error
    bunch = load_digits()
    images = np.asarray(bunch.data, dtype=np.int64)
    targets = np.asarray(bunch.target, dtype=np.int64)
    digest = hashlib.sha256(images.tobytes() + targets.tobytes()).hexdigest()
    order = np.random.default_rng(0).permutation(len(targets))
    first = round(SHARES["train"] * len(order))
    second = first + round(SHARES["validation"] * len(order))
    part = {"train": order[:first], "validation": order[first:second], "test": order[second:]}[split]
    part = part[np.isin(targets[part], classes)]
    position = {digit: i for i, digit in enumerate(classes)}
    labels = np.array([position[int(t)] for t in targets[part]], dtype=np.int64)
    return Digits(torch.from_numpy(images[part]), torch.from_numpy(labels), digest)
