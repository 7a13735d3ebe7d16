"""Figures and the report, drawn from the theory and from committed results:  python -m figures."""
