"""The local copies of versions that are kept elsewhere, in a directory that outlives the process.

    ROOT/versions/ADDRESS/files/…         a whole version; appears by one rename
    ROOT/versions/ADDRESS/manifest.json   what it is
    ROOT/incoming/ADDRESS/…               the same while it is being fetched, with `journal`
    ROOT/locks/ADDRESS                    locked by whoever fetches (alone) or uses (together)
    ROOT/room                             locked by whoever makes room, which is one at a time

An address is a digest of the content, so that a restart, another pod of the node and another model
with the same files find what is there. Decisions are pure: `address`, `parts`, `eviction`; the disk
is touched by `journal`, `locks`, `version_cache`; `download` fetches one version, `fetches` all
that are wanted.
"""
