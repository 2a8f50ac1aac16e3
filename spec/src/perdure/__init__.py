"""The storage contract for what an AI agent remembers."""
