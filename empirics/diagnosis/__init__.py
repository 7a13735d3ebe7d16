"""What a Mamba model's prefixes, initial states and adapters can do, with the claim behind every number.

``python -m empirics diagnose``; see the README beside this file.
"""
