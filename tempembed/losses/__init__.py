"""Contrastive losses: functions of embeddings, which never see a model, tokens or a logger.

Shape legend: B local batch, W world size, G = W·B, N hard negatives per query, D embedding width,
C candidates (columns), T terms.
"""
