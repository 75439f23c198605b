"""The phone vendors' ends of a call: WebSocket clients that dial AURA as the vendors do."""
