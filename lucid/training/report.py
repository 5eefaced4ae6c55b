"""The training report: what was used, what was chosen and how good it is, as JSON and as Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from lucid.data.selection import Selection
from lucid.store.documents import read_json
from lucid.training.markdown import escaped
from lucid.versions.lifecycle import REMEDY, REPORT

if TYPE_CHECKING:  # the report is also read where torch is not wanted
    from lucid.evaluation.quality import PairQuality

_TEMPLATE = """\
# Model {{ model_id }}, version {{ version }}

## Data

| step | kept | removed |
|---|---:|---:|
{% for step in steps -%}
| {{ step.step }} | {{ step.kept | count }} | {{ step.removed | count }} |
{% endfor %}
{%- if keys %}
## Metadata keys

| key | used as | because | values | distinct |
|---|---|---|---:|---:|
{% for key in keys -%}
| {{ key.key }} | {{ key.kind }} | {{ key.reason }} | {{ key["values"] | count }} | {{ key.distinct | count }} |
{% endfor %}
Of text, telling words become entities of the type `word`.
{% endif %}
## Graph

{{ graph.entities | count }} entities of {{ graph.entity_types | length }} types: {{ graph.entity_types | join(", ") }}.

| from | relation | to | edges |
|---|---|---|---:|
{% for edge in graph.edges -%}
| {{ edge.source_type }} | {{ edge.relation }} | {{ edge.target_type }} | {{ edge.count | count }} |
{% endfor %}
## Quality on held-out interactions

Sources that nothing was chosen on; the first 10 recommendations; what answers next to popularity and co-occurrence.
Cold: among targets without interactions only, where metadata or other relations tell of them.

| pair | answered by | NDCG@10 | popularity | co-occurrence | Recall@10 | popularity | co-occurrence | cold NDCG@10 | calibration error | sources |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{% for pair in pairs -%}
| {{ pair.source_type }} → {{ pair.target_type }} | {{ pair.answered_by }}
{%- for figure in ("ndcg", "recall") -%}
{%- for who in ("model", "popularity", "co_occurrence") %} | {{ pair[who][figure] | figure }}{% endfor -%}
{%- endfor %} | {{ pair.cold.ndcg | figure if pair.cold else "" }} | {{ pair.calibration_error | figure }} | {{ pair.model.sources }} |
{% endfor %}
{% if choice.filters -%}
## Learned filters

NDCG@10 of half of the sources that choices are made on, after learning on the other half. Where a learned filter does not
surely rank better, it is left out.

| pair | chosen response | with learned filter | |
|---|---:|---:|---|
{% for filter in choice.filters -%}
| {{ filter.source_type }} → {{ filter.target_type }} | {{ filter.plain | figure }} | {{ filter.learned | figure }} | {{ "kept" if filter.kept else "left out" }} |
{% endfor %}
{% endif -%}
## Choices

What relations weigh, and how much degrees are damped, in each view of the graph:

| view | relation | weight |
|---|---|---:|
{% for view in choice.weights -%}
| {{ loop.index0 }} | (damping) | {{ view.damping }} |
{% if view.repeats -%}
| {{ loop.index0 }} | (exponent of repeats) | {{ view.repeats }} |
{% endif -%}
{% if view.half_life -%}
| {{ loop.index0 }} | (half-life in days) | {{ (view.half_life / 86400) | figure(1) }} |
{% endif -%}
{% set number = loop.index0 -%}
{% for name, weight in view.relations.items() -%}
| {{ number }} | {{ name }} | {{ weight }} |
{% endfor %}
{%- endfor %}"""


class _Ours(str):
    """Markdown that needs no escaping, for nobody but us wrote it."""


def _shown(value: object) -> object:
    """What a place of the template shows: customers name nearly everything, so all text is escaped but `_Ours`."""
    return escaped(value) if isinstance(value, str) and not isinstance(value, _Ours) else value


def _count(number: int) -> str:
    return _Ours(f"{number:,}")


def _figure(number: float, digits: int = 4) -> str:
    return _Ours(f"{number:.{digits}f}")


def write_report(
    folder: Path,
    model_id: str,
    version: int,
    selection: Selection,
    graph: Mapping[str, Any],
    choice: Mapping[str, Any],
    pairs: "Sequence[PairQuality]",
) -> None:
    """Write `report.json`; `graph` counts its entities and edges, `choice` is what the fit chose."""
    report = {
        "model_id": model_id,
        "version": version,
        "steps": [asdict(step) for step in selection.steps],
        "keys": [asdict(key) for key in selection.keys],
        "graph": dict(graph),
        "choice": dict(choice),
        "pairs": [asdict(pair) for pair in pairs],
    }
    (folder / REPORT).write_text(json.dumps(report, indent=1))


def read_report(folder: Path) -> dict[str, Any]:
    """Read a version's report; raises Damaged."""
    return read_json(folder / REPORT, _report, REMEDY)


def _report(raw: Any) -> dict[str, Any]:
    report: dict[str, Any] = raw
    parts = *report["steps"], *report["keys"], *report["pairs"], report["graph"], report["choice"]
    if not all(isinstance(part, dict) for part in parts):
        raise TypeError("objects expected")
    return report


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown, without examples of values: it is kept where erasure does not reach."""
    # Markdown, not HTML: what would escape HTML is the wrong kind here.
    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=_shown)  # noqa: S701
    environment.filters |= {"count": _count, "figure": _figure}
    return environment.from_string(_TEMPLATE).render(report)
