"""The fused selective scan: CUDA C++ compiled at run time, and Triton where that does not serve."""
