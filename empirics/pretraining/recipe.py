"""Recipes: everything that a pretrained model depends on besides its corpus, in one TOML file each."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..errors import InvalidInput, UnknownName
from ..models.config import MambaConfig
from ..study.config import Strict, validate
from ..study.results import config_hash

RECIPES = Path(__file__).parent
"""Folder of the committed recipes."""

BYTES = 256
"""Size of the vocabulary where tokens are bytes."""

LAYERS = {"Mamba1": ("d_state", "d_conv", "expand"), "Mamba2": ("d_state", "d_conv", "expand", "headdim")}
"""Kinds of blocks, and the options of the recipe that they have."""


class Recipe(Strict):
    """A model and its training.

    Attributes
    ----------
    name, description:
        For the record.
    placeholder:
        Whether the model only holds the place of a better one; the record and the model card say so.
    layer, d_model, n_layer, d_state, d_conv, expand, headdim:
        ``Mamba1`` or ``Mamba2``, and the model's shape; ``headdim`` is Mamba-2's.
    tokens, vocabulary, separator:
        ``bytes``, or ``bpe`` with so many tokens and this text between documents (:mod:`.tokens`).
    sequence, batch, steps:
        Tokens per window, windows per step (over all processes), number of steps.
    learning_rate, warm_up, final_rate:
        Peak of the learning rate; steps of its linear rise; where its cosine ends, as a part of the peak.
    matrices, momentum:
        What takes the steps of the projections' matrices: ``adamw``, or ``muon`` with this momentum.
    weight_decay, beta1, beta2, clip:
        Decay of the projections' matrices, whoever takes their steps; AdamW's moments; largest norm of the gradient.
    dropout:
        Probability with which each number that a mixer adds to the residual stream is left out.
    seed:
        Of the initial values, of the windows and of dropout.
    every:
        Steps between checkpoints, which validate.
    keep_best:
        Whether the result is the model of the best validation instead of the last one.
    validation_bytes:
        Bytes of the validation split that are measured then.
    validation_share, test_share:
        See :func:`empirics.data.corpus.read_corpus`.
    """

    name: str
    description: str = ""
    placeholder: bool = False
    layer: Literal["Mamba1", "Mamba2"] = "Mamba1"
    d_model: int = Field(ge=1)
    n_layer: int = Field(ge=1)
    d_state: int = Field(default=16, ge=1)
    d_conv: int = Field(default=4, ge=1)
    expand: int = Field(default=2, ge=1)
    headdim: int = Field(default=64, ge=1)
    tokens: Literal["bytes", "bpe"] = "bytes"
    vocabulary: int = Field(default=BYTES, ge=BYTES, le=1 << 16)
    separator: str = ""
    sequence: int = Field(ge=1)
    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    warm_up: int = Field(default=0, ge=0)
    final_rate: float = Field(default=0.1, ge=0, le=1)
    matrices: Literal["adamw", "muon"] = "adamw"
    momentum: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    every: int = Field(default=100, ge=1)
    keep_best: bool = False
    validation_bytes: int = Field(default=65536, ge=2)
    validation_share: float = Field(default=0.005, ge=0, lt=1)
    test_share: float = Field(default=0.005, ge=0, lt=1)

    def architecture(self) -> MambaConfig:
        """Shape of the model, as mamba-ssm writes it."""
        ssm = {"layer": self.layer} | {name: getattr(self, name) for name in LAYERS[self.layer]}
        return MambaConfig(self.d_model, self.n_layer, self.vocabulary, ssm)

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: a linear rise, then half a cosine from the peak to ``final_rate`` times it."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))

    @property
    def identity(self) -> str:
        """Hash of the options: a checkpoint goes on only under the same."""
        return config_hash(self.model_dump(exclude={"name", "description"}))


def recipe_names() -> tuple[str, ...]:
    """Names of the committed recipes."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def load_recipe(name: str | Path, quick: bool = False, **options: Any) -> Recipe:
    """A recipe from a TOML file or by the name of a committed one; ``quick`` puts its [quick] options in place.

    Parameters
    ----------
    options:
        Replace single options of the file; ``steps`` alone also bounds ``warm_up``.

    Raises
    ------
    InvalidInput
        The file is missing, no TOML, or holds an unusable value.
    UnknownName
        No such recipe, or an unknown key; the nearest one is named.
    """
    path = Path(name)
    if not path.is_file():
        if path.suffix == ".toml" and path.parent != Path():
            raise InvalidInput(f"recipe {path} does not exist")
        if path.stem not in recipe_names():
            raise UnknownName("recipe", path.stem, recipe_names())
        path = RECIPES / f"{path.stem}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is no TOML file: {error}") from error
    small = values.pop("quick", {})
    if not isinstance(small, dict):
        raise InvalidInput(f"{path.name}: quick is {small!r}, expected a table [quick] of options")
    validate(Recipe, {"name": path.stem} | values | small, path.name)  # a mistake in [quick] shows without --quick, too
    chosen = {"name": path.stem} | values | (small if quick else {}) | options
    recipe = validate(Recipe, chosen, path.name)
    if "steps" in options and "warm_up" not in options:  # a shortened training warms up no longer than it lasts
        recipe = recipe.model_copy(update={"warm_up": min(recipe.warm_up, recipe.steps)})
    if recipe.warm_up > recipe.steps:
        raise InvalidInput(f"{path.name}: warm_up is {recipe.warm_up}, expected at most steps = {recipe.steps}")
    if (recipe.tokens == "bytes") != (recipe.vocabulary == BYTES):
        raise InvalidInput(
            f"{path.name}: vocabulary is {recipe.vocabulary} and tokens is {recipe.tokens!r}; "
            f"bytes are {BYTES}, and 'bpe' needs more than that"
        )
    recipe.architecture()
    return recipe
