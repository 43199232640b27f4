"""What somebody does who changes a bundle and can write hashes: only the parts themselves can then give it away."""

import json

from potstill.bundle.layout import read_manifest, write_manifest
from potstill.files import read_json, sha256, write_json
from potstill.filters import Filter, load_filter, save_filter


def rehash(folder, **changes):
    """A manifest whose hashes fit the files as they now are, with changes of its own."""
    manifest, _ = read_manifest(folder)
    files = {name: sha256(folder / name) for name in manifest.files}
    write_manifest(folder, manifest.model_copy(update={"files": files, **changes}))


def change_json(folder, name, change):
    content = read_json(folder / name)
    change(content)
    write_json(folder / name, content)
    rehash(folder)


def change_filter(folder, change):
    """Another filter, whose hash the manifest then names."""
    content = load_filter(folder).model_dump(mode="json")
    change(content)
    filter_ = Filter.model_validate_json(json.dumps(content))
    save_filter(filter_, folder)
    rehash(folder, filter_hash=filter_.content_hash)
