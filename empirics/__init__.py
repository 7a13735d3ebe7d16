"""Empirical side of ssmproof: Mamba models, scans and fine-tuning methods. Needs the extra ``ssmproof[empirics]``."""
