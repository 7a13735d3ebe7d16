"""The scans: one folder per operation, each with its derivation, and a table of what each implementation can do.

``empirics.selective_scan`` and ``empirics.ssd_scan`` (from :mod:`.dispatch`) call them by name. They are not exported here, where
``selective_scan`` is the folder.
"""

from .table import TABLE, Capability, capability, scan_names

__all__ = ["TABLE", "Capability", "capability", "scan_names"]
