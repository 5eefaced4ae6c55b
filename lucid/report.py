"""The training report: what was used, what was chosen and how good it is, as JSON and as Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from lucid.artifact import REPORT
from lucid.dataset import Selection

if TYPE_CHECKING:  # the report is also read where torch is not wanted
    from lucid.evaluate import PairQuality

_TEMPLATE = """\
# Model `{{ model_id }}`, version {{ version }}

## Data

| step | kept | removed |
|---|---:|---:|
{% for step in steps -%}
| {{ step.step }} | {{ "{:,}".format(step.kept) }} | {{ "{:,}".format(step.removed) }} |
{% endfor %}
{%- if keys %}
## Metadata keys

| key | used as | because | values | distinct |
|---|---|---|---:|---:|
{% for key in keys -%}
| {{ key.key | cell }} | {{ key.kind }} | {{ key.reason }} | {{ "{:,}".format(key["values"]) }} | {{ "{:,}".format(key.distinct) }} |
{% endfor %}
Of text, telling words become entities of the type `word`.
{% endif %}
## Graph

{{ "{:,}".format(graph.entities) }} entities of {{ graph.entity_types | length }} types: {{ graph.entity_types | join(", ") | cell }}.

| from | relation | to | edges |
|---|---|---|---:|
{% for edge in graph.edges -%}
| {{ edge.source_type | cell }} | {{ edge.relation | cell }} | {{ edge.target_type | cell }} | {{ "{:,}".format(edge.count) }} |
{% endfor %}
## Quality on held-out interactions

Sources that nothing was chosen on; the first 10 recommendations; what answers next to popularity and co-occurrence.
Cold: among targets without interactions only, where metadata or other relations tell of them.

| pair | answered by | NDCG@10 | popularity | co-occurrence | Recall@10 | popularity | co-occurrence | cold NDCG@10 | calibration error | sources |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{% for pair in pairs -%}
| {{ pair.source_type | cell }} → {{ pair.target_type | cell }} | {{ pair.answered_by }}
{%- for figure in ("ndcg", "recall") -%}
{%- for who in ("model", "popularity", "co_occurrence") %} | {{ "%.4f" % pair[who][figure] }}{% endfor -%}
{%- endfor %} | {{ "%.4f" % pair.cold.ndcg if pair.cold else "" }} | {{ "%.4f" % pair.calibration_error }} | {{ pair.model.sources }} |
{% endfor %}
{% if choice.filters -%}
## Learned filters

NDCG@10 of half of the sources that choices are made on, after learning on the other half. Where a learned filter does not
surely rank better, it is left out.

| pair | chosen response | with learned filter | |
|---|---:|---:|---|
{% for filter in choice.filters -%}
| {{ filter.source_type | cell }} → {{ filter.target_type | cell }} | {{ "%.4f" % filter.plain }} | {{ "%.4f" % filter.learned }} | {{ "kept" if filter.kept else "left out" }} |
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
| {{ loop.index0 }} | (half-life in days) | {{ "%.1f" % (view.half_life / 86400) }} |
{% endif -%}
{% set number = loop.index0 -%}
{% for name, weight in view.relations.items() -%}
| {{ number }} | {{ name | cell }} | {{ weight }} |
{% endfor %}
{%- endfor %}"""


def _cell(text: object) -> str:
    """Text that cannot end a table cell or start markup."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


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
    """Read a version's report."""
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return report


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown, without examples of values: it is kept where erasure does not reach."""
    # Markdown, not HTML: cells are escaped for what can break a table.
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["cell"] = _cell
    return environment.from_string(_TEMPLATE).render(report)
