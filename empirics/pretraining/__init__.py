"""A byte-level Mamba-1 language model of our own: corpus, training, held-out bits per byte, baselines, the bundled model."""
