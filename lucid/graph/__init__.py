"""Rows become a typed graph: entity types and ids, edges, who interacted with what."""
