"""What a signed-in request costs, here and elsewhere: ``python -m benchmarks --help``."""
