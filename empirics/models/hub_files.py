"""Files of models on the hub: fetched where the hub's host has an address, else taken from the local cache."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..errors import MissingPackage


def _library() -> Any:
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingPackage("huggingface_hub", "empirics", str(error)) from error
    return huggingface_hub


def hub_has_an_address() -> bool:
    """Whether the name of the hub's host can be looked up; behind a proxy, which looks it up itself, it is taken to be.

    Without a network huggingface_hub tries each file six times, for half a minute, before it says so.

    Raises
    ------
    MissingPackage
        Without huggingface-hub.
    """
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(_library().constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


def hub_file(name: str, file: str, revision: str | None = None) -> Path:
    """Where a file of the hub model ``name`` lies in the local cache, fetched first where it is not there yet.

    Parameters
    ----------
    revision:
        Branch, tag or commit on the hub; its main branch where left out.

    Raises
    ------
    OSError, ValueError
        What huggingface_hub raises: no such model or file, no network and not in the cache, a name that is none.
    MissingPackage
        Without huggingface-hub.
    """
    library, online = _library(), hub_has_an_address()
    try:
        return Path(library.hf_hub_download(name, file, revision=revision, local_files_only=not online))
    except library.errors.LocalEntryNotFoundError as error:
        if online:
            raise
        raise type(error)(f"no network and {file} is not in the cache") from error
