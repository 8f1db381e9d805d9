"""The real OpenAI client, unchanged, against a running factory."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.conftest import ASK
from tests.e2e.factories import Factory, wait_for


@pytest.fixture
def client(factory: Factory, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=key, base_url=factory.url + "/v1", max_retries=0) as made:
        yield made


def test_chat_answers_with_usage_and_a_request_id_that_is_in_the_ledger(
    client: openai.OpenAI, factory: Factory
):
    answer = client.chat.completions.create(model="good", messages=ASK, max_tokens=4)
    assert answer.choices[0].message.content == "the line runs and"
    assert answer.usage.total_tokens == 8
    rows = factory.read("logs", "--id", answer._request_id)["items"]
    assert [(row["status"], row["endpoint"], row["output_tokens"], row["team"]) for row in rows] == [
        (200, "good", 4, "crew")
    ]


def test_completions_embeddings_and_models(client: openai.OpenAI):
    answer = client.completions.create(model="good", prompt="which spindle", max_tokens=2)
    assert answer.choices[0].text == "the line"
    found = client.embeddings.create(model="good", input=["one", "three"], encoding_format="float")
    assert [row.embedding[0] for row in found.data] == [0.03, 0.05]
    assert {"good", "limited", "linear"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("good").id == "good"


def test_a_stream_carries_usage_only_if_asked_for(client: openai.OpenAI, factory: Factory):
    plain = client.chat.completions.create(model="good", messages=ASK, max_tokens=3, stream=True)
    chunks = list(plain)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "the line runs "
    asked = client.chat.completions.create(
        model="good", messages=ASK, max_tokens=3, stream=True, stream_options={"include_usage": True}
    )
    assert list(asked)[-1].usage.total_tokens == 7
    # Asked for or not, the ledger knows what was used.
    id_ = plain.response.headers["x-request-id"]
    rows = wait_for("the stream's row", lambda: factory.read("logs", "--id", id_)["items"])
    assert rows[0]["output_tokens"] == 3


def test_the_asynchronous_client_works_as_well(factory: Factory, key: str):
    async def main() -> None:
        async with openai.AsyncOpenAI(api_key=key, base_url=factory.url + "/v1", max_retries=0) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(model="good", messages=ASK, max_tokens=2) for _ in range(20))
            )
            assert {answer.choices[0].message.content for answer in answers} == {"the line"}
            assert len({answer._request_id for answer in answers}) == 20
            stream = await client.chat.completions.create(
                model="good", messages=ASK, max_tokens=2, stream=True
            )
            assert len([chunk async for chunk in stream]) == 3

    asyncio.run(main())


def test_each_refusal_is_the_error_class_that_clients_expect(client: openai.OpenAI, factory: Factory):
    stranger = openai.OpenAI(api_key="sk-andon-nobody", base_url=factory.url + "/v1", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as unknown:
        stranger.chat.completions.create(model="good", messages=ASK)
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="godo", messages=ASK)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="good", messages=[{"role": "boss", "content": "x"}])
    assert wrong.value.param == "messages[0].role"
    with pytest.raises(openai.RateLimitError) as upstream:
        client.chat.completions.create(model="busy", messages=ASK)
    assert upstream.value.response.headers["retry-after"] == "90"


def test_a_limit_says_what_remains_and_when_to_come_back(client: openai.OpenAI):
    for remaining in ("1", "0"):
        answer = client.chat.completions.with_raw_response.create(model="limited", messages=ASK, max_tokens=1)
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == remaining
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="limited", messages=ASK, max_tokens=1)
    headers = limited.value.response.headers
    assert 0 < float(headers["retry-after"]) <= 30
    assert headers["x-should-retry"] in ("true", "false")
    assert limited.value.code


def test_a_cut_stream_raises_and_never_looks_complete(client: openai.OpenAI):
    words: list[str | None] = []
    stream = client.chat.completions.create(model="cut", messages=ASK, stream=True)
    with pytest.raises(openai.APIError) as cut:
        words.extend(chunk.choices[0].delta.content for chunk in stream)
    assert words == ["the ", "line "]
    assert cut.value.code


def test_an_idempotency_key_gives_the_same_answer_without_asking_again(client: openai.OpenAI, provider: str):
    def create(prompt: str) -> openai.types.Completion:
        headers = {"idempotency-key": "order-7"}
        return client.completions.create(model="good", prompt=prompt, extra_headers=headers)

    first = create("one")
    before = counts(provider)["requests"]
    assert create("one") == first
    assert counts(provider)["requests"] == before
    with pytest.raises(openai.UnprocessableEntityError) as reused:
        create("another")
    assert reused.value.code == "idempotency_key_reused"


def counts(provider: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{provider}/counts") as answer:
        found: dict[str, int] = json.load(answer)
        return found


def test_a_client_that_leaves_a_stream_frees_the_provider(client: openai.OpenAI, provider: str):
    before = counts(provider)["cancelled"]
    stream = client.chat.completions.create(model="endless", messages=ASK, stream=True, max_tokens=100_000)
    next(iter(stream))
    stream.close()
    wait_for("the provider to be told", lambda: counts(provider)["cancelled"] > before)
