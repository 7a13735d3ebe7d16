"""A prefix compiled into states. The question and the prediction stand in experiment.toml."""
