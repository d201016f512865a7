"""The defences that the paper is compared with, one a file; `bench.baselines.registry` knows them by name."""
