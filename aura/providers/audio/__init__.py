"""Whatever an engine sends as audio → 16-bit mono PCM, streamed."""
