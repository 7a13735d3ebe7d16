"""A module's forward pass replaced on the instance, and given back as it was.

accelerate's hooks (a device map, for instance) replace it in the same place, and keep what they call in ``_old_forward``. The new
one goes there, so that the hooks go on around it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn

from ..errors import InvalidInput

_STOCK, _HOOKED, _GUARD = "_ssmproof_stock", "_old_forward", "_ssmproof_pickled"


class Unpicklable:
    """Lies on a module whose forward pass is replaced.

    A pickle names a function and does not hold it: the loaded module would run the class's own forward pass, without the method.
    """

    def __reduce__(self) -> str:
        raise InvalidInput(
            "a model that carries a method is not pickled whole: save the method with handle.save(folder), or model.state_dict()"
        )

    def __deepcopy__(self, memo: object) -> Unpicklable:
        return self


def replace_forward(module: nn.Module, forward: Callable[..., Any]) -> None:
    """Let the module run ``forward(module, ...)``."""
    own = vars(module)
    slot = _HOOKED if _HOOKED in own else "forward"
    own[_STOCK], own[_GUARD] = own.get(slot), Unpicklable()
    own[slot] = MethodType(forward, module)


def restore_forward(module: nn.Module, mine: Callable[[Any], bool]) -> None:
    """Undo :func:`replace_forward`; ``mine`` recognises its function, wherever hooks that came or went have put it."""
    own = vars(module)
    stock = own.pop(_STOCK, None)
    own.pop(_GUARD, None)
    for slot in ("forward", _HOOKED):
        if not mine(getattr(own.get(slot), "__func__", None)):
            continue
        if slot == _HOOKED:
            own[slot] = stock if stock is not None else MethodType(type(module).forward, module)
        elif stock is None:
            del own[slot]
        else:
            own[slot] = stock


def stock_forward(module: nn.Module) -> Callable[..., Any]:
    """What the module ran before :func:`replace_forward`."""
    stock: Callable[..., Any] | None = vars(module).get(_STOCK)
    return MethodType(type(module).forward, module) if stock is None else stock
