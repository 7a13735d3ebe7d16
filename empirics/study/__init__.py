"""Running experiments: configuration, runs and their files, sweeps, workers, judging."""
