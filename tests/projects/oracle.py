"""What a part of an endpoint has to be: the answer of the endpoint's own URL to the same client."""

from __future__ import annotations


def answer(client, url, **extra):
    """What the URL answers to this client."""
    response = client.get(url, **extra)
    assert response.status_code == 200, (url, response.status_code, response.content)
    return response.json()


def assert_same_as_urls(client, parts, urls, **extra):
    """Each part has the data that its URL answers with."""
    assert set(parts) == set(urls)
    for name, url in urls.items():
        assert parts[name] == answer(client, url, **extra), name
