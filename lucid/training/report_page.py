"""The training report as Markdown, which Prefect and people show; see `lucid.training.report`."""

from jinja2 import Environment, StrictUndefined

from lucid.training.markdown import escaped
from lucid.training.report import TrainingReport
from lucid.training.wording import against, against_before, figure

_TEMPLATE = """\
# Model {{ model_id }}, version {{ version }}

## Data

| step | kept | removed |
|---|---:|---:|
{% for step in steps -%}
| {{ step.step }} | {{ step.kept | count }} | {{ step.removed | count }} |
{% endfor %}

{%- if drift %}
## What is odd about the batches

| batch | what was found |
|---|---|
{% for found in drift -%}
| {{ found.batch_id }} | {{ found.message }} |
{% endfor %}
{%- endif %}
{%- if keys %}
## Metadata keys

| key | used as | because | form | fitting | values | distinct | spellings merged |
|---|---|---|---|---:|---:|---:|---:|
{% for key in keys -%}
| {{ key.key }} | {{ key.use }} | {{ key.reason }} | {{ key.form }} | {{ key.fitting | share }} | {{ key["values"] | count }} | {{ key.distinct | count }} | {{ key.merged | count }} |
{% endfor %}
Values that do not fit the form of their key lead nowhere; `report.json` has examples. Of text, telling words become entities of the type `word`.
{% endif %}
{% if strengths -%}
## What interactions say

| type | taken as | because | liked from | disliked up to | interactions | values |
|---|---|---|---:|---:|---:|---:|
{% for rule in strengths -%}
| {{ rule.type }} | {{ rule.meaning }} | {{ rule.reason }} | {{ rule.positive_above | optional }} | {{ rule.negative_below | optional }} | {{ rule.interactions | count }} | {{ rule["values"] | count }} |
{% endfor %}
What this weighs stands with the relation weights. Interactions that say that something was not liked are not to be found again.
{% endif -%}
## Graph

{{ graph.entities | count }} entities of {{ graph.entity_types | length }} types: {{ graph.entity_types | join(", ") }}.

| from | relation | to | edges |
|---|---|---|---:|
{% for edge in graph.edges -%}
| {{ edge.source_type }} | {{ edge.relation }} | {{ edge.target_type }} | {{ edge.count | count }} |
{% endfor %}
## Quality on held-out interactions

Test sources, that nothing was chosen on; what answers beside popularity and item-kNN, with 95% intervals.

| pair | answered by | sources | NDCG@10 | popularity | the model is | item-kNN | the model is | before | Recall@10 | hit rate@10 | cold NDCG@10 | calibration error |
|---|---|---:|---:|---:|---|---:|---|---|---:|---:|---:|---:|
{% for pair in judged -%}
| {{ pair.source_type }} → {{ pair.target_type }} | {{ pair.answered_by }} | {{ pair.model.sources | count }} | {{ pair | shown("model") }}
{%- for who in ("popularity", "item_knn") %} | {{ pair | shown(who) }} | {{ pair | against(who) }}{% endfor %} | {{ pair | against_before -}}
{%- for name in ("recall@10", "hit_rate@10") %} | {{ pair | shown("model", name) }}{% endfor %} | {{ pair.cold.ndcg | figure if pair.cold else "" }} | {{ pair.calibration_error | figure }} |
{% endfor %}
The model is compared source by source; `better` and `worse` are said only where an interval and a test agree. Before: the version that answered before, on sources of which it has seen nothing that is withheld. Cold: among targets without interactions, where metadata or other relations tell of them.
{% if judged and judged[0].figures %}
## What lists are like

The first ten recommendations: the share of all targets that anybody gets, how much the lists of two sources differ (0: everybody gets the same), how little known the targets are (in bits), how different they are by their metadata, and which share goes to the most popular tenth.

| pair | who | coverage | personalisation | novelty | diversity | most popular tenth |
|---|---|---:|---:|---:|---:|---:|
{% for pair in judged -%}
{% for who, variety in pair.figures.variety.items() -%}
| {{ pair.source_type }} → {{ pair.target_type }} | {{ who }} | {{ variety.coverage | share }} | {{ variety.personalisation | optional }} | {{ variety.novelty | optional(1) }} | {{ variety.diversity | optional }} | {{ pair.figures.popularity_bias[0].recommendations[who] | share }} |
{% endfor -%}
{% endfor %}
{% endif %}
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
{% if chosen.follows -%}
## What follows what

NDCG@10 of the next interactions of validation sources: without order, with the same interactions in an order that tells
nothing, and as they came; and how often they are among the first ten (HR@10). Order counts where both gains in NDCG are
beyond chance. A direction of 0 counts only what came after, 1 what came before as much.

| pair | sources | without order | shuffled | in order | HR@10 without order | in order | weight | in sessions | direction | |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
{% for trial in chosen.follows -%}
| {{ trial.source_type }} → {{ trial.target_type }} | {{ trial.sources | count }} | {{ trial.plain | figure }} | {{ trial.shuffled | figure }} | {{ trial.ordered | figure }} | {{ trial.plain_hit_rate | figure }} | {{ trial.ordered_hit_rate | figure }} | {{ trial.weight }} | {{ (trial.weight * trial.in_session) | round(2) }} | {{ trial.backward }} | {{ "kept" if trial.kept else "left out" }} |
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
{% if weights.strengths != "ignored" -%}
| {{ loop.index0 }} | (use of strengths) | {{ weights.strengths }} |
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


def _optional(number: float | None, digits: int = 3) -> str:
    return _Ours("" if number is None else f"{number:.{digits}f}")


def as_markdown(report: TrainingReport) -> str:
    """The report as Markdown, without examples of values: it is kept where erasure does not reach."""
    # Markdown, not HTML: what would escape HTML is the wrong kind here.
    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=_shown)  # noqa: S701
    environment.filters |= {"count": _count, "figure": _figure, "share": _share, "optional": _optional}
    environment.filters |= {"shown": figure, "against": against, "against_before": against_before}
    return environment.from_string(_TEMPLATE).render(report.to_json() | {"judged": report.pairs})
