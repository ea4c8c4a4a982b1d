"""Regularisers: functions of the embeddings of the global batch, one file each."""
