"""Independent streams of random numbers that batches derive from one seed."""

SHUFFLE_STREAM, AUGMENT_STREAM, MIXING_STREAM = 0, 1, 2
