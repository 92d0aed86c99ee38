"""Reports of compiled models for people and tools."""
