"""Figures of ssmproof, one module each, drawn from the theory and from committed results:  python -m figures."""
