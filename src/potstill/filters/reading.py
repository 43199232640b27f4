"""Parse YAML strictly.

Input: the text of a `filter.yaml` or of a recipe. Output: plain values, and the node tree with the line of each value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from potstill.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Sequence


MOST_CHARACTERS = 300_000
"""Maximum length of a YAML text; parsing a text of this length takes about a second."""

MOST_NODES = 20_000
"""Maximum number of keys, values and lists in a YAML text; parsing this many takes about a second."""

_DEEPEST = 30


class _Loader(yaml.SafeLoader):
    """A loader for keys, lists, strings, numbers and booleans; no aliases, tags, dates or duplicate keys."""

    nodes = 0
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise yaml.MarkedYAMLError(None, None, f"more than {MOST_NODES:,} keys and values", self.get_mark())
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.MarkedYAMLError(
                None, None, f"nested too deeply; at most {_DEEPEST} levels are allowed", self.get_mark()
            )
        node = self._composed(parent, index)
        self.depth -= 1
        return node

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:  # noqa: N803 - PyYAML's
        # The scanner reads ahead of the composer, in time that grows with the square of the nesting depth.
        if self.flow_level > _DEEPEST:
            raise yaml.MarkedYAMLError(
                None, None, f"nested too deeply; at most {_DEEPEST} levels are allowed", self.get_mark()
            )
        super().fetch_flow_collection_start(TokenClass)

    def _composed(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        start = self.get_mark()
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "aliases (*name) are not supported", start)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in _TAGS:
            raise yaml.MarkedYAMLError(None, None, f"the tag {node.tag} is not supported", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(None, None, f"the key {key} is not text; quote it", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key} occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))

# Filters contain no dates: dates stay text and get the error of their field. Numbers such as 1e-3 are parsed as
# numbers, unlike in YAML 1.1; 1:30 is not a number.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in {"timestamp", "merge", "value", "int", "float"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
        r"|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(*_FLOAT)


class Dumper(yaml.SafeDumper):
    """A dumper whose output the strict loader reads: number-like strings are quoted, and there are no aliases.

    Unicode line breaks are escaped, because YAML 1.1 folds them within single quotes like an ordinary line break.
    """

    def represent_str(self, data: str) -> yaml.ScalarNode:  # noqa: D102 - PyYAML's
        style = '"' if any(mark in data for mark in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002, D102 - PyYAML's
        return True


Dumper.add_implicit_resolver(*_FLOAT)
Dumper.add_representer(str, Dumper.represent_str)


def read_yaml(text: str, where: str) -> tuple[Any, yaml.Node | None]:
    """Parse YAML into plain values and the node tree for `line_of`; both are None for an empty text.

    Args:
        text: the YAML.
        where: the name of the file, for messages.

    Raises:
        FilterError: the text is not YAML, is indented with tabs, contains a duplicate key, an alias or a tag, or is too
            large or nested too deeply; the message names the line.
    """
    if len(text) > MOST_CHARACTERS:
        raise FilterError(f"{where}: {len(text):,} characters; at most {MOST_CHARACTERS:,} are allowed")
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        content = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line
        shown = text.splitlines()[line] if line < len(text.splitlines()) else ""
        if "\t" in shown[: len(shown) - len(shown.lstrip())] or "'\\t'" in (error.problem or ""):
            raise FilterError(f"{where}: line {line + 1}: a tab; YAML must be indented with spaces") from None
        raise FilterError(f"{where}: line {line + 1}: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = text[error.position]
        raise FilterError(f"{where}: line {line}: the character {character!r} is not allowed in YAML") from None
    except (yaml.YAMLError, ValueError) as error:
        raise FilterError(f"{where}: not YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise FilterError(f"{where}: nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()
    return content, root


def line_of(root: yaml.Node | None, path: Sequence[str | int]) -> int:
    """Return the line, from 1, of the value at `path`, or of its nearest existing ancestor."""
    node, line = root, 1 if root is None else root.start_mark.line + 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                return line
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line
