"""The report: every claim, check, counterexample, experiment and figure as one offline HTML page."""
