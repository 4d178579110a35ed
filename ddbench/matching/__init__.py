"""Matching engines that methods share: gradients, and distributions of embeddings."""
