"""The fine-tuning methods on images of digits. The question and the prediction stand in experiment.toml."""
