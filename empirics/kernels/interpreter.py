"""Triton's interpreter (``TRITON_INTERPRET=1``), in which the fused scans can be checked without a GPU.

Whether it is on is settled when the kernels are defined, that is when their module is first imported.
"""

from __future__ import annotations

from typing import Any

import torch

from ..errors import MissingPackage


@torch.compiler.assume_constant_result
def interpreting() -> bool:
    """Is Triton importable and set to interpret kernels instead of compiling them?"""
    try:
        import triton
    except ImportError:
        return False
    return bool(triton.knobs.runtime.interpret)


def require_triton() -> None:
    """Make Triton ready for use, with its interpreter mended where needed.

    Raises
    ------
    MissingPackage
        Triton is not importable.
    """
    try:
        import triton
    except ImportError as error:
        raise MissingPackage("triton", "cuda", str(error)) from error
    if triton.knobs.runtime.interpret:
        _mend_loop_bounds()
        _mend_bfloat16()
        _mend_repeated_patches()


def _mend_loop_bounds() -> None:
    """Let ``range`` take a scalar of the interpreter as a bound.

    Triton 3.6 turns it into an int by ``int(array)`` of a one-element array with an axis, which NumPy refuses since 2.4.
    """
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor
    if getattr(original, "mended", False):
        return

    def patch(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patch.mended = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patch


def _mend_repeated_patches() -> None:
    """Patch Triton's language once per kernel.

    Triton 3.6 does it again at every call of a device function, on top of the patches before, and never takes these back.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    original = interpreter._patch_lang
    if getattr(original, "mended", False):
        return
    scopes: dict[tuple[bool, bool], Any] = {}  # by which of the two modules a function sees; the kernel's own comes first

    def patch(function: Any) -> Any:
        seen = [value for value in function.__globals__.values() if value is tl or value is tl.core]
        key = (tl in seen, tl.core in seen)
        if key in scopes:
            return scopes[key]
        outermost = not scopes
        scope = scopes[key] = original(function)
        if outermost:
            own = scope.restore

            def restore() -> None:
                inner = [s for s in scopes.values() if s is not scope]
                scopes.clear()
                for s in reversed(inner):
                    s.restore()
                own()

            scope.restore = restore
        return scope

    patch.mended = True  # type: ignore[attr-defined]
    interpreter._patch_lang = patch


def round_to_bfloat16(bits: Any) -> Any:
    """float32 as uint32 -> bfloat16 as uint16, to nearest, ties to even, as GPUs do; NaN stays NaN."""
    import numpy as np

    nearest = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    quiet = (bits >> 16) | np.uint32(0x40)
    return np.where((bits & np.uint32(0x7FFFFFFF)) > 0x7F800000, quiet, nearest).astype(np.uint16)


def _mend_bfloat16() -> None:
    """Round to bfloat16. Triton 3.6's interpreter cuts the mantissa off, which doubles the error."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    original = interpreter._convert_float
    if getattr(original, "mended", False):
        return

    def convert(value: Any, source: Any, target: Any, mode: Any) -> Any:
        if source == tl.float32 and target == tl.bfloat16:
            bits = np.ascontiguousarray(value).view(np.uint32)
            return round_to_bfloat16(bits).reshape(value.shape)
        if source == tl.bfloat16 and target == tl.float32:
            bits = np.ascontiguousarray(value).view(np.uint16).astype(np.uint32) << np.uint32(16)
            return bits.reshape(value.shape)
        return original(value, source, target, mode)

    convert.mended = True  # type: ignore[attr-defined]
    interpreter._convert_float = convert
