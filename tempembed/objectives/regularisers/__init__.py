"""Regularisers: functions of the embeddings of the global batch, one file each. Import one, and it is known by its name."""
