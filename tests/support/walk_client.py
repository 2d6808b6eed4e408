"""A client that walks: what the tests share of talking to a view."""

from __future__ import annotations

from urllib.parse import urlencode


def get_json(client, url, **extra):
    """The envelope of one answer, which has to be a good one."""
    response = client.get(url, **extra)
    assert response.status_code == 200, response.content
    return response.json()


def first_cursor(client, url, **extra):
    """The token of the first chunk."""
    token = get_json(client, url, **extra)["cursor"]
    assert token is not None
    return token


def at(url, token, **query):
    """The URL of the chunk behind a token."""
    return f"{url}?{urlencode({**query, 'cursor': token})}"


def walk(client, url, token=None, **extra):
    """Every envelope of a walk, from a token on if one is given."""
    envelopes = [get_json(client, at(url, token) if token else url, **extra)]
    while envelopes[-1]["cursor"] is not None:
        envelopes.append(get_json(client, at(url, envelopes[-1]["cursor"]), **extra))
    return envelopes


def merged(envelopes):
    """Name -> data of all results."""
    return {
        name: data
        for envelope in envelopes
        for result in envelope["results"]
        for name, data in result.items()
    }


def names(envelope):
    """The names of the delivered parts, in order."""
    return [name for result in envelope["results"] for name in result]
