"""The methods of the language benchmark, each sized to one budget of trained numbers where its size can be chosen.

The budget is what LoRA of a given rank on both linear projections trains. A method's size is its rank, its number of tokens or of
additional states, or the number of channels that SDT selects; where a size exists, the one whose count is nearest to the budget
is taken. What a method trains in the end is always counted on the model, and reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from ...errors import InvalidInput, UnknownName
from ...methods import LoRA, MethodConfig, Scores, Selection, count_trainable, method_config, select
from ...methods.catalogue import LINEAR, STATE_SPACE, Recipe, Size, recipes
from ...methods.geometry import Geometry, find_mixers, geometry
from ...methods.scores import score
from ...methods.targets import named_tensors, select_tensors

RECIPES = recipes("lm_benchmark")
METHODS = tuple(RECIPES)
"""All methods. ``frozen`` trains nothing."""

TOLERANCE = 0.10
"""Relative distance from the budget up to which a method counts as matched."""


@dataclass(frozen=True)
class Plan:
    """A method sized to a budget.

    Attributes
    ----------
    method, budget:
        What was asked for.
    size, what:
        The size that was chosen, and what it counts (``rank``, ``ranks``: the sum of the two of ``lora_both``, ``tokens``,
        ``states``, ``channels``, ``rank beside``: of the LoRA beside SDT); ``None`` and empty for a method without one.
    """

    method: str
    budget: int
    size: int | None
    what: Size

    def matched(self, trainable: int) -> bool:
        """Whether so many trained numbers are within a tenth of the budget."""
        return abs(trainable - self.budget) <= TOLERANCE * self.budget


@dataclass(frozen=True)
class Sizing:
    """How sizes are chosen.

    Attributes
    ----------
    rank:
        Rank of the LoRA on both linear projections that sets the budget.
    most_tokens:
        Largest number of tokens of a prompt or prefix.
    state_share:
        Share of a channel's states that SDT selects.
    lora_share:
        Share of the budget that LoRA gets beside SDT, as nearly as a whole rank allows.
    channel_share:
        Share of the channels that SDT selects where its size is not chosen for the budget.
    """

    rank: int = 8
    most_tokens: int = 64
    state_share: float = 0.25
    lora_share: float = 0.75
    channel_share: float = 0.01


def low_rank(method: str, rank: int, recipes: Mapping[str, Recipe] = RECIPES) -> MethodConfig:
    """A low-rank method with alpha = rank, so that s = 1 at every rank."""
    return recipes[method].config(rank=rank, alpha=float(rank))


def on_both(ranks: int) -> MethodConfig:
    """``lora_both`` with so many ranks in sum, at least 2: linear projections ⌊ranks/2⌋, state-space module the rest."""
    linear, inside = ranks // 2, ranks - ranks // 2
    parts = (
        method_config("lora", targets=LINEAR, rank=linear, alpha=float(linear)),
        method_config("lora", targets=STATE_SPACE, rank=inside, alpha=float(inside)),
    )
    return method_config("combined", parts=parts)


def budget_of(model: nn.Module, sizing: Sizing) -> int:
    """Numbers that LoRA of the sizing's rank on both linear projections trains."""
    return count_trainable(model, low_rank("lora_linear", sizing.rank))


def nearest_size(count: Callable[[int], int], budget: float, most: int) -> int:
    """The size in 1..most whose count is nearest to the budget, the smaller of equals; counts grow with the size.

    Raises
    ------
    InvalidInput
        ``most`` or the budget is not positive.
    """
    if most < 1 or not budget > 0:
        raise InvalidInput(f"budget {budget} and largest size {most} must be positive")
    low, high = 1, most
    while low < high:  # the least size that reaches the budget
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= budget else (middle + 1, high)
    return low - 1 if low > 1 and budget - count(low - 1) <= abs(count(low) - budget) else low


def plan(method: str, model: nn.Module, sizing: Sizing, recipes: Mapping[str, Recipe] = RECIPES) -> Plan:
    """The size of a method for the model's budget.

    Parameters
    ----------
    recipes:
        The methods of a study by name.

    Raises
    ------
    UnknownName
        No such method.
    InvalidInput, UnknownName
        The method does not fit the model: Mamba-2 has no x_proj, for instance.
    """
    if method not in recipes:
        raise UnknownName("method of the experiment", method, recipes)
    budget, recipe = budget_of(model, sizing), recipes[method]
    if recipe.size == "":
        return Plan(method, budget, None, "")
    if recipe.size == "rank":
        most = _largest_rank(recipe.options["targets"], model)
        size = nearest_size(lambda rank: count_trainable(model, low_rank(method, rank, recipes)), budget, most)
    elif recipe.size == "ranks":
        most = 2 * _largest_rank((*LINEAR, *STATE_SPACE), model) - 1
        size = 1 + nearest_size(lambda n: count_trainable(model, on_both(n + 1)), budget, most)
    elif recipe.size == "tokens":
        size = nearest_size(lambda m: count_trainable(model, recipe.config(tokens=m)), budget, sizing.most_tokens)
    elif recipe.size == "states":
        most = max(sizes.d_state for sizes in _sizes(model)) * 4
        size = nearest_size(lambda n: count_trainable(model, recipe.config(states=n)), budget, most)
    elif recipe.size == "rank beside":
        most, scores = _largest_rank(recipe.beside["targets"], model), score("random", model)
        size = nearest_size(lambda rank: count_trainable(model, _beside(recipe, scores, rank, sizing)), budget, most)
    else:
        most = min(sizes.channels for sizes in _sizes(model))
        scores = score("random", model)  # on Mamba-1 the count does not depend on which dimensions are chosen
        size = nearest_size(lambda k: count_trainable(model, _sparse(recipe, scores, k, sizing, model)), budget, most)
    return Plan(method, budget, size, recipe.size)


def configure(
    planned: Plan,
    model: nn.Module,
    sizing: Sizing,
    scores: Callable[[str], dict[str, Scores]],
    recipes: Mapping[str, Recipe] = RECIPES,
) -> MethodConfig | None:
    """The planned method's configuration, ``None`` for the frozen model.

    Parameters
    ----------
    scores:
        Name of a selection score to the scores of the model's channels and states; called for sparse methods only.
    """
    method, size, recipe = planned.method, planned.size, recipes[planned.method]
    if recipe.method is None:
        return None
    if size is None:
        return recipe.config()
    if recipe.size == "rank":
        return low_rank(method, size, recipes)
    if recipe.size == "ranks":
        return on_both(size)
    if recipe.size == "channels":
        return _sparse(recipe, scores(recipe.score), size, sizing, model)
    if recipe.size == "rank beside":
        return _beside(recipe, scores(recipe.score), size, sizing)
    return recipe.config(tokens=size) if recipe.size == "tokens" else recipe.config(states=size)


def selected(config: MethodConfig | None) -> Selection | None:
    """The dimensions that a sparse method's configuration trains."""
    return getattr(getattr(config, "sdt", config), "selection", None)


def _sparse(recipe: Recipe, scores: dict[str, Scores], channels: int, sizing: Sizing, model: nn.Module) -> MethodConfig:
    lora = _lora_beside(model, sizing) if recipe.method == "sdt_lora" else None
    return recipe.config(selection=select(scores, channels, sizing.state_share), lora=lora)


def _beside(recipe: Recipe, scores: dict[str, Scores], rank: int, sizing: Sizing) -> MethodConfig:
    """SDT on a fixed share of the channels, with LoRA of a rank that is chosen."""
    chosen = select(scores, sizing.channel_share, sizing.state_share)
    return recipe.config(selection=chosen, lora=LoRA(**recipe.beside, rank=rank, alpha=float(rank)))


def _lora_beside(model: nn.Module, sizing: Sizing) -> LoRA:
    if not 0 < sizing.lora_share < 1:
        raise InvalidInput(f"lora_share is {sizing.lora_share}, expected a share of the budget in (0, 1)")
    share = sizing.lora_share * budget_of(model, sizing)
    rank = nearest_size(lambda r: count_trainable(model, low_rank("lora_linear", r)), share, sizing.rank)
    lora = low_rank("lora_linear", rank)
    assert isinstance(lora, LoRA)
    return lora


def _sizes(model: nn.Module) -> list[Geometry]:
    return [geometry(mixer) for _, mixer in find_mixers(model)]


def _largest_rank(targets: tuple[str, ...], model: nn.Module) -> int:
    return min(min(t.parameter.shape) for t in select_tensors(list(named_tensors(model)), targets))
