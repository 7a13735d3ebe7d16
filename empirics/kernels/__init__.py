"""The scans: one folder per operation, each with its derivation, and a table of what each implementation can do."""

from .capability import TABLE, Capability, capability, scan_names
from .dispatch import selective_scan, ssd_scan

__all__ = ["TABLE", "Capability", "capability", "scan_names", "selective_scan", "ssd_scan"]
