"""Pretrained weights from elsewhere: downloaded or read from a file, written as a model folder."""
