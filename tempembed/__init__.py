"""tempembed: train text embeddings that stay good after compression, by controlling temperature."""
