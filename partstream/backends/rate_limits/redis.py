"""Limits counted in Redis: sliding windows, exact. Needs django-redis, the extra ``redis``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha1
from typing import Any

from django.core.checks import CheckMessage, Warning
from redis.exceptions import NoScriptError

from partstream.exceptions import Misuse
from partstream.setting_kinds import SECONDS

from ..redis_connections import connect
from ..redis_server import ServerConnections
from .base import Decision, RateLimitStore, Window

#: The maximum seconds that a request may wait for a server that hangs.
LONGEST_TIMEOUT = 0.25
MICROSECONDS = 1_000_000

# KEYS     For each window a list of the times when its requests were admitted, in microseconds of
#          the server's clock, newest first. It has at most as many entries as the limit, and
#          expires when the newest has left the window.
# ARGV     For each window its limit, and its length in microseconds.
# Returns  1 if every window had room, and one request was counted in each; otherwise 0. Then, for
#          each window, the number of requests in it now, and the microseconds until there is
#          room for one more than there is now.
SCRIPT = """\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local admitted = 1
local windows = {}

for i, key in ipairs(KEYS) do
  local limit, length = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local since = now - length
  local used = redis.call('LLEN', key)
  local oldest = used > 0 and tonumber(redis.call('LINDEX', key, -1)) or now
  if oldest > now and tonumber(redis.call('LINDEX', key, 0)) > now + length then
    -- The clock went back by more than a window: do not wait until it is there again.
    redis.call('DEL', key)
    used = 0
  end
  while used > 0 and oldest <= since do
    -- Remove what has left the window; at most 100 at once, as there may be a million.
    local last = redis.call('LRANGE', key, -100, -1)
    local gone = #last
    while gone > 0 and tonumber(last[gone]) <= since do
      gone = gone - 1
    end
    redis.call('LTRIM', key, 0, gone - #last - 1)
    used = used - #last + gone
    oldest = tonumber(last[gone] or redis.call('LINDEX', key, -1) or now)
  end
  if used >= limit then
    admitted = 0
  end
  windows[i] = {limit, length, used, oldest}
end

local reply = {admitted}
for i, key in ipairs(KEYS) do
  local limit, length, used, oldest = unpack(windows[i])
  if admitted == 1 then
    if used == 0 then
      oldest = now
    end
    used = redis.call('LPUSH', key, string.format('%.0f', now))
    -- One millisecond more: the list must not expire before its entries leave the window.
    redis.call('PEXPIRE', key, length / 1000 + 1)
  elseif used > limit then
    oldest = redis.call('LINDEX', key, limit - 1)
  end
  reply[2 * i] = used
  reply[2 * i + 1] = used > 0 and oldest + length - now or 0
end
return reply
"""
_DIGEST = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisRateLimitStore(RateLimitStore):
    """Uses one Lua script, in the Redis server of a django-redis cache, or in a cluster.

    The script counts all windows of a request in one atomic step and one round trip, by the
    server's clock. So all processes count together, and no window, wherever it begins, admits more
    than its limit. Keys have the cache's ``KEY_PREFIX`` and ``VERSION``, and expire with the last
    request that they count. In a cluster, the braces in the keys put all keys of a client into one
    slot, so a ``KEY_PREFIX`` must have no braces, and a ``KEY_FUNCTION`` must keep the key's.

    The store has its own connections, of the cache's kind and to its server, with their own
    timeouts, without retries, and as many as there are threads. If only the pool's own class can
    make connections, as with Sentinel, the store uses that pool unchanged: then ``timeout`` has no
    effect, and the timeouts in the cache's ``OPTIONS`` apply.

    Args:
        alias: A name in ``CACHES``, of a cache of django-redis; None: ``"default"``.
        cluster_url: Instead of ``alias``: the URL of any node of a Redis Cluster. Keys have no
            prefix there.
        timeout: Seconds that a request waits for a connection, and for an answer; at most 0.25.
        retry_after: Seconds for which Redis is not used after a failure.

    Raises:
        Misuse: When the cache does not exist or is not one of django-redis, the URL cannot be
            used, both are given, or the timeout is out of bounds.
    """

    shared = True
    exact = True

    def __init__(
        self,
        *,
        alias: str | None = None,
        cluster_url: str | None = None,
        timeout: float = 0.2,
        retry_after: float = 2,
    ) -> None:
        super().__init__(retry_after=retry_after)
        if not replace(SECONDS, most=LONGEST_TIMEOUT).accepts(timeout):
            raise Misuse(
                f"The rate-limit store's timeout is {timeout!r}. Write seconds above 0, up to "
                f"{LONGEST_TIMEOUT}, for example 0.2: a request may wait for that long."
            )
        self._redis = connect(
            "rate-limit store",
            alias,
            cluster_url,
            instead="DjangoCacheRateLimitStore",
            timeout=timeout,
        )
        self._raw_key = self._redis.raw_key
        self._execute = self._redis.execute

    def consume(self, windows: Sequence[Window]) -> Decision:
        """See `RateLimitStore.consume`."""
        names: list[str] = []
        arguments: list[int] = []
        for key, limit, seconds in windows:
            names.append(self._raw_key(key))
            arguments += (limit, seconds * MICROSECONDS)
        try:
            reply = self._execute(names[0], "EVALSHA", _DIGEST, len(names), *names, *arguments)
        except NoScriptError:  # The server is new, or has lost the script; this loads it.
            reply = self._execute(names[0], "EVAL", SCRIPT, len(names), *names, *arguments)
        remaining, resets, wait = [], [], 0.0
        place = 1
        for _, limit, _ in windows:
            used, reset = reply[place], reply[place + 1] / MICROSECONDS
            place += 2
            remaining.append(limit - used if used < limit else 0)
            resets.append(reset)
            if used >= limit and reset > wait:
                wait = reset
        admitted = reply[0] == 1
        return Decision(admitted, 0.0 if admitted else wait, tuple(remaining), tuple(resets))

    def probe(self) -> None:
        """See `RateLimitStore.probe`. In a cluster, each primary has to answer as well."""
        self._redis.ping()
        super().probe()

    def check(self) -> list[CheckMessage]:
        """Messages if server and options do not match, or if a hanging server blocks requests."""
        connections = self._redis
        messages = connections.check()
        if not isinstance(connections, ServerConnections) or connections.is_own_pool:
            return messages
        options = connections.pool.connection_kwargs
        names = ("socket_timeout", "socket_connect_timeout")
        if all(_is_short(options.get(name)) for name in names):
            return messages
        return [
            *messages,
            Warning(
                f"The connections of the cache {connections.alias!r} come from a "
                f"{type(connections.pool).__name__}, which is used unchanged, without timeouts of "
                f"{LONGEST_TIMEOUT} s or less: a Redis server that hangs blocks the first requests "
                "for as long as redis-py waits.",
                hint='Set the cache\'s OPTIONS to {"SOCKET_TIMEOUT": 0.2, '
                '"SOCKET_CONNECT_TIMEOUT": 0.2}.',
                id="partstream.W010",
            ),
        ]


def _is_short(timeout: Any) -> bool:
    return isinstance(timeout, (int, float)) and 0 < timeout <= LONGEST_TIMEOUT
