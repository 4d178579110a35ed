"""Matching engines that methods share: gradients."""
