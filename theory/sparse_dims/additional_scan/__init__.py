"""sparse_dims.additional_scan: see README.md."""
