"""The OpenAPI document: complete, and right about itself."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from lucid.api.app import create_app
from lucid.api.idempotency import read
from lucid.api.openapi import EVERYWHERE
from lucid.settings import Settings

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    document: Document = create_app(Settings(home=tmp_path_factory.mktemp("openapi"))).openapi()
    return document


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    """What needs a key: all calls of the contract."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/"):
                yield f"{method.upper()} {path}", operation


def contents(operation: Document, *, success: bool) -> Iterator[tuple[str, Document]]:
    for status, response in operation["responses"].items():
        if (status < "300") == success:
            yield from response.get("content", {}).items()


def test_every_call_of_the_contract_is_described(document: Document) -> None:
    """All rows of the contract's table, each with words, a name of its own and the key it needs."""
    base = "/v1/recommender"
    assert {
        *(f"{method} {base}/data_batch" for method in ("POST", "GET", "PATCH", "DELETE")),
        f"GET {base}/data_batch/{{batch_id}}/errors",
        *(f"{method} {base}/events" for method in ("POST", "GET")),
        *(f"{method} {base}/recommended_items" for method in ("POST", "GET")),
        f"POST {base}/train",
        f"GET {base}/status",
        f"GET {base}/models",
        *(f"{method} {base}/models/{{model_id}}" for method in ("GET", "DELETE")),
        *(f"POST {base}/models/{{model_id}}/{verb}" for verb in ("rollback", "cancel", "refresh")),
        f"GET {base}/models/{{model_id}}/deliveries",
        f"POST {base}/models/{{model_id}}/deliveries/{{event_id}}/resend",
        *(f"{method} {base}/models/{{model_id}}/auto_train" for method in ("GET", "PUT", "DELETE")),
        *(f"{method} {base}/models/{{model_id}}/gate" for method in ("GET", "PUT", "DELETE")),
        *(f"{method} {base}/models/{{model_id}}/pin" for method in ("PUT", "DELETE")),
        f"GET {base}/models/{{model_id}}/compare",
        *(f"POST {base}/models/{{model_id}}/versions/{{version}}/{verb}" for verb in ("promote", "reject")),
        f"GET {base}/models/{{model_id}}/versions/{{version}}/lineage",
        f"GET {base}/models/{{model_id}}/versions/{{version}}/report",
        f"GET {base}/models/{{model_id}}/versions/{{version}}/report/held_out",
        f"GET {base}/models/{{model_id}}/attribution",
        *(f"{method} {base}/experiments" for method in ("POST", "GET")),
        *(f"{method} {base}/experiments/{{name}}" for method in ("GET", "DELETE")),
        f"POST {base}/experiments/{{name}}/stop",
        f"DELETE {base}/entities",
        *(f"{method} {base}/placements" for method in ("GET", "POST")),
        *(f"{method} {base}/placements/{{name}}" for method in ("GET", "DELETE")),
        f"GET {base}/placements/{{name}}/versions",
        f"POST {base}/placements/preview",
    } <= {name for name, _ in operations(document)}
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert operation["security"], name
        assert all(parameter.get("description") for parameter in operation.get("parameters", ())), name


def test_the_document_reads_by_itself(document: Document) -> None:
    """Where the service is, what each group of calls is for, and a sentence on each call; no answer is nothing."""
    every = [operation for methods in document["paths"].values() for operation in methods.values()]
    groups = {tag for operation in every for tag in operation["tags"]}

    assert ["/"] == [server["url"] for server in document["servers"]]
    assert groups == {tag["name"] for tag in document["tags"] if tag["description"].endswith(".")}
    for operation in every:
        summary = operation["summary"]
        assert summary[0].isupper(), summary
        assert summary.endswith("."), summary
        assert " " in summary, summary
        assert operation["description"].startswith(summary[:-1]), summary
        for _, content in contents(operation, success=True):
            assert not accepts_null(content["schema"], document), summary


def accepts_null(schema: Document, document: Document) -> bool:
    return jsonschema.Draft202012Validator({**document, **schema}).is_valid(None) if schema else True


def test_every_error_is_a_problem(document: Document) -> None:
    """Each call names the errors that any may have, and every error is application/problem+json with an example."""
    for name, operation in operations(document):
        assert {str(status) for status in EVERYWHERE} <= set(operation["responses"]), name
        errors = list(contents(operation, success=False))
        assert {"application/problem+json"} == {media_type for media_type, _ in errors}, name
        for _, content in errors:
            jsonschema.validate(content["example"], {**document, **content["schema"]})


def test_every_answer_has_a_schema_and_a_right_example(document: Document) -> None:
    """Examples of answers and bodies fit their schemas, so whoever copies one gets what is promised."""
    for name, operation in operations(document):
        bodies = operation.get("requestBody", {}).get("content", {}).items()
        answers = list(contents(operation, success=True))
        assert answers, name
        for _, content in [*answers, *bodies]:
            examples = list(examples_of(content, document))
            assert examples, name
            for example in examples:
                jsonschema.validate(example, {**document, **content["schema"]})


def examples_of(content: Document, document: Document) -> Iterator[Any]:
    """Of the content itself, of its schema, or of what a list holds."""
    schema = content["schema"]
    if "example" in content:
        yield content["example"]
    elif "$ref" in schema:
        yield from document["components"]["schemas"][schema["$ref"].rpartition("/")[2]].get("examples", ())
    elif "items" in schema:
        yield from ([example] for example in examples_of({"schema": schema["items"]}, document))
    else:
        for choice in schema.get("anyOf", ()):
            yield from examples_of({"schema": choice}, document)


def test_the_calls_that_may_be_repeated_say_how(document: Document) -> None:
    """Uploads and trainings describe their key, which may be left out, with an example that is one."""
    with_key = {
        name: parameter
        for name, operation in operations(document)
        for parameter in operation.get("parameters", ())
        if (parameter["in"], parameter["name"]) == ("header", "Idempotency-Key")
    }

    assert {"POST /v1/recommender/data_batch", "POST /v1/recommender/train"} == set(with_key)
    for parameter in with_key.values():
        assert not parameter["required"]
        (example,) = parameter["schema"]["examples"]
        jsonschema.validate(example, parameter["schema"])
        assert example.strip('"') == read([example])
