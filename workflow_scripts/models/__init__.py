"""Encoders as timm architectures, their initial weights and their position tables."""
