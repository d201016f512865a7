"""The AArch64 code of the kernels, looked at and counted on any machine: no board, hence no milliseconds."""
