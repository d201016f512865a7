"""Measurements: each module returns data, `bench.commands` prints it."""
