"""sparse_dims.depth_sharing: see README.md."""
