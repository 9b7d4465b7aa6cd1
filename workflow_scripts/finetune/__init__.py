"""Train a whole encoder on a labelled benchmark, and the same one from random weights.

`trial`: what a training is made of. `network`: the encoder with a head, its dropped paths and its
rates by layer. `targets`: smoothed labels, Mixup, CutMix and the loss. `pixels`: what the network
sees in training and at the test. `saved`: what survives a kill. `train`: the loop.
"""
