"""Claims checked by Rocq's kernel: the proofs (``*.v``), the manifest that ties them to claims, and the bridge to the code.

``python -m theory.formal`` (or ``make proofs``) compiles every proof and rewrites ``manifest.json``. Reading the manifest
needs no Rocq: ``theory.formal.manifest.load()``.
"""
