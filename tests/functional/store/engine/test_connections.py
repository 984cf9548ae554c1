"""The number of connections of a process."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.pool import QueuePool

from snapmanage.store.engine.database import Database, connect
from tests.functional.databases import ON_SERVERS


@ON_SERVERS
def test_process_has_twice_the_connections_of_its_pool_and_further_threads_wait(database: Database) -> None:
    small = connect(database.engine.url.render_as_string(hide_password=False), pool_size=1)
    first, second = small.engine.connect(), small.engine.connect()

    with ThreadPoolExecutor(1) as threads:
        third = threads.submit(small.now)
        with pytest.raises(TimeoutError):
            third.result(0.3)  # the time without a connection is the subject here
        first.close()
        assert third.result(20)

    second.close()
    assert isinstance(small.engine.pool, QueuePool)
    assert small.engine.pool.timeout() == 30
    small.close()
