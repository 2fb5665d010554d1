"""What runs in the environment of the subjects; the variables ``BENCH_*`` say with what."""
