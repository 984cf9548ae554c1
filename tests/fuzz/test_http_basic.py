"""The header Authorization."""

import base64
from functools import cache

import falcon.testing
import pytest
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.api.access.http_basic import HttpBasic
from snapmanage.api.access.password_checks import PasswordChecks
from tests.fuzz.hostile import ANY_TEXT, bounded, fuzz, scratch

# No password has this hash, so each check is fast and fails.
LINE = f"user:$2b$10${'.' * 53}\n"
SCHEMES = st.sampled_from(("Basic ", "basic ", "BASIC  ", "Bearer ", "", "Basic"))
CREDENTIALS = st.one_of(
    ANY_TEXT.map(lambda text: text.encode(errors="surrogatepass")),
    st.builds(lambda user, password: user + b":" + password, st.just(b"user") | st.binary(), st.binary(max_size=100)),
).map(lambda raw: base64.b64encode(raw).decode())


@cache
def strategy() -> HttpBasic:
    file = scratch("accounts") / "htpasswd"
    file.write_text(LINE)
    return HttpBasic(file, PasswordChecks(wrong_per_minute=1_000_000, parallel=1, places=1))


@fuzz(SCHEMES, CREDENTIALS | ANY_TEXT)
def test_header_of_any_text_authenticates_nobody(scheme: str, credentials: str) -> None:
    header = f"{scheme}{credentials}".encode(errors="ignore").decode("latin-1")
    environ = falcon.testing.create_environ("/") | {"HTTP_AUTHORIZATION": header}

    with bounded(header), pytest.raises((errors.NotAuthenticated, errors.InvalidRequest)) as refused:
        strategy()(falcon.Request(environ), None)
    assert str(refused.value).isprintable()
