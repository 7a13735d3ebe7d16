"""Models of other libraries, adapted where they are: the same weights, the library's own classes, files, Trainer and generation.

Methods that change weights are parametrisations and need nothing of this. Methods that act on states need a mixer that can start
from a state, read out an offset or carry further states, which no library's can: while such a method is on a mixer of the classes
in :mod:`.table`, its ``forward`` is this project's, on the mixer's own tensors (:mod:`.borrowed`), with the library's way of
passing states on (:mod:`.takeover`). Soft prompts enter at the model's embedding (:mod:`.prompting`).
"""
