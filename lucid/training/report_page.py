"""The training report as Markdown, which Prefect and people show; see `lucid.training.report`."""

from jinja2 import Environment, StrictUndefined

from lucid.training.markdown import escaped
from lucid.training.report import TrainingReport

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

| key | used as | because | form | fitting | values | distinct | spellings merged |
|---|---|---|---|---:|---:|---:|---:|
{% for key in keys -%}
| {{ key.key }} | {{ key.use }} | {{ key.reason }} | {{ key.form }} | {{ key.fitting | share }} | {{ key["values"] | count }} | {{ key.distinct | count }} | {{ key.merged | count }} |
{% endfor %}
Values that do not fit the form of their key lead nowhere; `report.json` has examples. Of text, telling words become entities of the type `word`.
{% endif %}
## Graph

{{ graph.entities | count }} entities of {{ graph.entity_types | length }} types: {{ graph.entity_types | join(", ") }}.

| from | relation | to | edges |
|---|---|---|---:|
{% for edge in graph.edges -%}
| {{ edge.source_type }} | {{ edge.relation }} | {{ edge.target_type }} | {{ edge.count | count }} |
{% endfor %}
## Quality on held-out interactions

Test sources, that nothing was chosen on; the first 10 recommendations; what answers next to popularity and item-kNN.
Cold: among targets without interactions only, where metadata or other relations tell of them.

| pair | answered by | NDCG@10 | popularity | item-kNN | Recall@10 | popularity | item-kNN | cold NDCG@10 | calibration error | sources |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{% for pair in pairs -%}
| {{ pair.source_type }} → {{ pair.target_type }} | {{ pair.answered_by }}
{%- for figure in ("ndcg", "recall") -%}
{%- for who in ("model", "popularity", "item_knn") %} | {{ pair[who][figure] | figure }}{% endfor -%}
{%- endfor %} | {{ pair.cold.ndcg | figure if pair.cold else "" }} | {{ pair.calibration_error | figure }} | {{ pair.model.sources }} |
{% endfor %}
{% if chosen.given_up -%}
## Given up

What there was no time to try, as `max_minutes` had it:

{% for what in chosen.given_up -%}
- {{ what }}
{% endfor %}
{% endif -%}
{% if chosen.learned_filters -%}
## Learned gains

NDCG@10 of half of the validation sources, after learning on the other half. Where a learned gain does not surely rank
better, it is left out.

| pair | chosen filter | with learned gain | |
|---|---:|---:|---|
{% for filter in chosen.learned_filters -%}
| {{ filter.source_type }} → {{ filter.target_type }} | {{ filter.plain | figure }} | {{ filter.learned | figure }} | {{ "kept" if filter.kept else "left out" }} |
{% endfor %}
{% endif -%}
## Relation weights

What relations weigh, and how much degrees are damped, in each decomposition of the graph:

| decomposition | relation | weight |
|---|---|---:|
{% for weights in chosen.weightings -%}
| {{ loop.index0 }} | (damping) | {{ weights.damping }} |
{% if weights.repeats -%}
| {{ loop.index0 }} | (exponent of repeats) | {{ weights.repeats }} |
{% endif -%}
{% if weights.half_life -%}
| {{ loop.index0 }} | (half-life in days) | {{ (weights.half_life / 86400) | figure(1) }} |
{% endif -%}
{% set number = loop.index0 -%}
{% for name, weight in weights.relations.items() -%}
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


def _share(share: float | None) -> str:
    return _Ours("" if share is None else f"{share:.1%}")


def as_markdown(report: TrainingReport) -> str:
    """The report as Markdown, without examples of values: it is kept where erasure does not reach."""
    # Markdown, not HTML: what would escape HTML is the wrong kind here.
    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=_shown)  # noqa: S701
    environment.filters |= {"count": _count, "figure": _figure, "share": _share}
    return environment.from_string(_TEMPLATE).render(report.to_json())
