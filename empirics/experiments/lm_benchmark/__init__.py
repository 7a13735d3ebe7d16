"""The fine-tuning methods on real text. The question and the prediction stand in experiment.toml."""
