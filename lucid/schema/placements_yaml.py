"""Placements as YAML: the form in which people keep their rules."""

from pathlib import Path
from typing import Any

import yaml

from lucid.errors import InvalidRequest
from lucid.schema.fields import check
from lucid.schema.placements import PlacementRequest, PlacementRules, request_of

MAX_FILE_BYTES = 1_000_000
"""Largest file that is read as rules."""


def read_placement(file: str | Path) -> PlacementRequest:
    """A placement from a YAML file, or a JSON file, which is YAML; raises InvalidRequest, saying what is wrong."""
    return check(PlacementRequest, _content_of(Path(file)))


def read_rules(file: str | Path) -> PlacementRules:
    """The rules alone, which need no name; raises as `read_placement` does."""
    content = _content_of(Path(file))
    beside = set(PlacementRequest.model_fields) - set(PlacementRules.model_fields)
    return check(PlacementRules, {name: value for name, value in content.items() if name not in beside})


def _content_of(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidRequest(f"{path}: larger than {MAX_FILE_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path}: no such file", code="no_such_file") from error
    except IsADirectoryError as error:
        raise InvalidRequest(f"{path}: a folder, expected a YAML file") from error
    except UnicodeError as error:
        raise InvalidRequest(f"{path}: not UTF-8; save it as UTF-8") from error
    return _content(text, str(path))


def parse_placement(text: str, source: str = "placement") -> PlacementRequest:
    """A placement from YAML; raises InvalidRequest, in which `source` names the text where it is no YAML."""
    return check(PlacementRequest, _content(text, source))


def _content(text: str, source: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, _Plain)  # noqa: S506  # which makes nothing but plain values
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}" if where else ""
        reason = getattr(error, "problem", None) or str(error) or "too deep"
        raise InvalidRequest(f"{source}{place}: not YAML: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidRequest(f"{source}: expected names and values, such as name: home")
    return content


def write_yaml(placement: PlacementRequest) -> str:
    """The rules as YAML, to be changed and saved again."""
    return str(yaml.safe_dump(request_of(placement), sort_keys=False, allow_unicode=True))


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # which has no types
    """Reads texts, numbers, booleans, lists and objects; dates stay texts, aliases are refused, as they may explode."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not read; write the value again", mark)
        return super().compose_node(parent, index)


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
