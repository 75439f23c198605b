"""ElevenLabs: voices."""
