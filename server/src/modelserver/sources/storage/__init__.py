"""Where exports are kept. `base` says what a source needs of a storage; each kind is a sibling."""
