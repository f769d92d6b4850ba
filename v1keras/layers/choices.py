"""The names of noise modes and averages, without Keras, for command lines."""

NOISE_MODES = ("stochastic", "off", "fixed")
"""What `set_noise` knows; `NeuronalNoise` says what each means."""

AVERAGES = ("logits", "probabilities")
"""What ensembles can average; `MeanLogits` says what each means."""
