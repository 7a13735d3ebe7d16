"""The version of the whole project, in one place."""

__version__ = "0.2.0"
