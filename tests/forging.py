"""Simulate an attacker who changes a bundle and rewrites its hashes, so that only the contents can reveal it."""

import json

from potstill.bundle.layout import read_manifest, write_manifest
from potstill.files import read_json, sha256, write_json
from potstill.filters import Filter, load_filter, save_filter


def rehash(folder, **changes):
    """Update a manifest's hashes to the current files, and apply further changes to it."""
    manifest, _ = read_manifest(folder)
    files = {name: sha256(folder / name) for name in manifest.files}
    write_manifest(folder, manifest.model_copy(update={"files": files, **changes}))


def change_json(folder, name, change):
    content = read_json(folder / name)
    change(content)
    write_json(folder / name, content)
    rehash(folder)


def change_filter(folder, change):
    """Change the filter, and record its hash in the manifest."""
    content = load_filter(folder).model_dump(mode="json")
    change(content)
    filter_ = Filter.model_validate_json(json.dumps(content))
    save_filter(filter_, folder)
    rehash(folder, filter_hash=filter_.content_hash)
