"""The words of the contract as types: what comes in over a border, and what goes out."""
