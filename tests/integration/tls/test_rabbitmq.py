"""RabbitMQ with TLS and with the permissions of the page: the main job works, and every other way is refused."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import kombu
import pytest
from amqp.exceptions import AccessRefused

from snapmanage import errors
from snapmanage.bus import Publication
from snapmanage.cmd.wiring import management, parts
from snapmanage.testing import needs
from snapmanage.testing.services.deployment import PROJECT, SERVER
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import LOOPBACK, running
from snapmanage.testing.services.rabbitmq import PROGRAMS
from snapmanage.testing.waiting import until
from tests.integration.tls.conftest import Configure
from tests.integration.tls.helpers import (
    EXCHANGE,
    SeparateUsers,
    broker_lines,
    create_user,
    deployed_with_users,
    do_the_main_job,
    permissions,
    tls_url,
    topic_permissions,
)
from tests.page_blocks import adapted, block
from tests.services.network.certificates import NAME, Certificates
from tests.services.network.tls_services import TlsRabbitMQ, client_files, with_certificates
from tests.services.network.tls_services import tls_url as database_tls_url

KINDS = ("api", "volume", "relay", "audit")


@pytest.fixture(scope="module")
def broker(certificates: Certificates) -> Iterator[TlsRabbitMQ]:
    needs.require(*PROGRAMS)
    with running(with_certificates(TlsRabbitMQ, certificates)) as service:
        yield service


@pytest.fixture
def virtual_host(broker: TlsRabbitMQ) -> str:
    return broker.virtual_host()


@pytest.fixture
def users(broker: TlsRabbitMQ, virtual_host: str) -> dict[str, str]:
    """Return `USER:PASSWORD` of each kind of process."""
    return {kind: create_user(broker, virtual_host, f"snapmanage-{kind}") for kind in KINDS}


@pytest.fixture
def urls(broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str]) -> dict[str, str]:
    return {kind: tls_url(broker, login, virtual_host) for kind, login in users.items()}


@pytest.mark.parametrize(("database", "separate_relay"), [("tls_mariadb", False), ("tls_postgresql", True)])
def test_main_job_works_over_tls_with_the_permissions_of_the_page(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    urls: dict[str, str],
    certificates: Certificates,
    database: str,
    separate_relay: bool,
) -> None:
    database_url = database_tls_url(request.getfixturevalue(database), certificates)
    with deployed_with_users(tmp_path, urls, database_url, broker_lines(certificates), separate_relay) as deployment:
        do_the_main_job(deployment)


def test_main_job_works_with_the_one_user_of_the_page(
    tmp_path: Path, broker: TlsRabbitMQ, virtual_host: str, mariadb: MariaDB, certificates: Certificates
) -> None:
    login = create_user(broker, virtual_host, "snapmanage")
    # The first broker of each URL has a certificate for another name, so every process uses the second one.
    url = tls_url(broker, login, virtual_host).replace("@", f"@{LOOPBACK}:{broker.tls_port},{login}@")
    urls = dict.fromkeys(KINDS, url)
    with deployed_with_users(tmp_path, urls, mariadb.database(), broker_lines(certificates)) as deployment:
        do_the_main_job(deployment)


def test_main_job_works_with_a_login_by_certificate(
    tmp_path: Path, broker: TlsRabbitMQ, virtual_host: str, mariadb: MariaDB, certificates: Certificates
) -> None:
    broker.add_user("snapmanage", None)
    broker.permit(virtual_host, "snapmanage", permissions("snapmanage")[0])
    shown = block("tls.md", "Log in with the certificate", "rabbit_login_method")
    places = {"rabbit.example:5671/snapmanage": f"{NAME}:{broker.tls_port}/{virtual_host}"}
    url, lines = adapted(shown, client_files(certificates) | places).split("\n\n")

    urls = dict.fromkeys(KINDS, url.rpartition(" = ")[2])
    with deployed_with_users(tmp_path, urls, mariadb.database(), lines) as deployment:
        do_the_main_job(deployment)


def test_main_job_works_without_the_rights_of_the_first_start(
    tmp_path: Path,
    broker: TlsRabbitMQ,
    virtual_host: str,
    urls: dict[str, str],
    users: dict[str, str],
    mariadb: MariaDB,
) -> None:
    lines = broker_lines(broker.certificates)
    with deployed_with_users(tmp_path, urls, mariadb.database(), lines, separate_relay=True) as deployment:
        until(lambda: are_all_declared(deployment), "all queues")
        take_rights_away(broker, virtual_host, users)
        for name in KINDS:
            deployment.daemons[name].stop()
            line = deployment.daemons[name].start()
            if name == "api":
                deployment.url = f"{line.split()[1]}/{PROJECT}"

        do_the_main_job(deployment)


@pytest.mark.parametrize("kind", KINDS)
def test_users_without_the_rights_of_the_first_start_can_replace_nothing_that_others_use(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], kind: str
) -> None:
    declare_exchange(broker, virtual_host, users["volume"])
    events = "snapmanage-audit.notifications.info"
    with connection(broker, virtual_host, users["audit"]) as made:
        kombu.Queue(events)(made.channel()).declare()

    take_rights_away(broker, virtual_host, users)

    with connection(broker, virtual_host, users[kind]) as made:
        changes: list[Callable[[Any], Any]] = [
            lambda channel: channel.exchange_delete(EXCHANGE),
            lambda channel: channel.queue_delete(events),
            lambda channel: channel.queue_declare("snapmanage-audit.own"),
        ]
        for change in changes:
            with pytest.raises(AccessRefused):
                change(made.channel())


def test_audit_without_the_rights_of_the_first_start_can_publish_nothing(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str]
) -> None:
    declare_exchange(broker, virtual_host, users["volume"])

    take_rights_away(broker, virtual_host, users)

    for exchange in (EXCHANGE, ""):
        with pytest.raises(AccessRefused):
            publish(broker, virtual_host, users["audit"], exchange)


@pytest.mark.parametrize("kind", ["api", "relay", "audit"])
def test_users_without_the_rights_of_the_first_start_can_bind_nothing_to_the_exchange(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], kind: str
) -> None:
    declare_exchange(broker, virtual_host, users["volume"])
    own = {"api": "reply_1"}.get(kind, "snapmanage-audit.notifications.info")
    with connection(broker, virtual_host, users["api"]) as made:
        kombu.Queue(own)(made.channel()).declare()

    take_rights_away(broker, virtual_host, users)

    with connection(broker, virtual_host, users[kind]) as made:
        for change in ("queue_bind", "queue_unbind"):
            with pytest.raises(AccessRefused):
                getattr(made.channel(), change)(own, EXCHANGE, "notifications.info")


def test_api_with_the_rights_for_cadf_events_publishes_them_to_their_queue(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str]
) -> None:
    declare_exchange(broker, virtual_host, users["volume"])
    user, page, events = users["api"].partition(":")[0], "log-requests.md", "snapmanage-api-audit.info"
    broker.permit(virtual_host, user, permissions("snapmanage-api", page)[0])
    broker.permit_topics(virtual_host, user, EXCHANGE, topic_permissions("snapmanage-api", page))

    with connection(broker, virtual_host, users["api"]) as made:
        # As oslo.messaging's notifier does.
        queue = kombu.Queue(events, kombu.Exchange(EXCHANGE, "topic", durable=True), events, durable=True)
        queue(made.channel()).declare()
        kombu.Producer(made.channel()).publish("event", exchange=EXCHANGE, routing_key=events)

    with connection(broker, virtual_host, "guest:guest") as made:
        assert until(lambda: made.channel().basic_get(events), "the event").body == b"event"


def test_missing_queue_that_the_user_may_not_declare_is_named_with_the_remedy(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], certificates: Certificates, configured: Configure
) -> None:
    declare_exchange(broker, virtual_host, users["volume"])
    take_rights_away(broker, virtual_host, users)
    url = tls_url(broker, users["relay"], virtual_host)
    bus, names = parts.connect_bus(configured(f"[DEFAULT]\ntransport_url = {url}\n{broker_lines(certificates)}"))

    with closing(bus), pytest.raises(errors.Unavailable, match="does not exist, and the user"):
        bus.declare(names.event_keys())


@pytest.mark.parametrize("kind", KINDS)
def test_users_of_the_page_have_no_right_to_other_names(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], kind: str
) -> None:
    for name in ("elsewhere", "snapmanage-volume-2", "openstack2", "dead-letters.other"):
        with connection(broker, virtual_host, users[kind]) as made, pytest.raises(AccessRefused):
            kombu.Queue(name)(made.channel()).declare()


@pytest.mark.parametrize("kind", ["relay", "audit"])
def test_relay_and_audit_may_not_delete_the_exchange(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], kind: str
) -> None:
    with connection(broker, virtual_host, users[kind]) as made, pytest.raises(AccessRefused):
        made.channel().exchange_delete(EXCHANGE)


def test_process_without_the_right_to_the_exchange_waits_for_it(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], certificates: Certificates, configured: Configure
) -> None:
    url = tls_url(broker, users["audit"], virtual_host)
    bus, names = parts.connect_bus(configured(f"[DEFAULT]\ntransport_url = {url}\n{broker_lines(certificates)}"))
    with closing(bus):
        with pytest.raises(errors.Unavailable, match=f"exchange {EXCHANGE} does not exist.*Remedy: start snapmanage-"):
            bus.declare(names.event_keys())

        declare_exchange(broker, virtual_host, users["volume"])

        bus.declare(names.event_keys())


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_user_that_may_publish_only_notifications_reaches_the_queue_of_a_server(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], header: str
) -> None:
    """RabbitMQ checks no topic permission for these headers, so the pages call such a user an administrator."""
    declare_exchange(broker, virtual_host, users["volume"])
    login = users["audit"]
    name = login.partition(":")[0]
    broker.permit(virtual_host, name, ["^$", f"^{EXCHANGE}$", "^$"])
    broker.permit_topics(virtual_host, name, EXCHANGE, [r"^notifications\.info$", "^$"])
    with connection(broker, virtual_host, users["volume"]) as made:
        queue = kombu.Queue("snapmanage-volume", kombu.Exchange(EXCHANGE, "topic"), "snapmanage-volume")(made.channel())
        queue.declare()

        with connection(broker, virtual_host, login) as publisher:
            headers = {header: ["snapmanage-volume"]}
            kombu.Producer(publisher.channel()).publish(
                "body", exchange=EXCHANGE, routing_key="notifications.info", headers=headers
            )

        until(lambda: queue.get(no_ack=True) is not None, "the message in the queue of the server")


@pytest.mark.parametrize("kind", ["api", "relay", "audit"])
def test_only_servers_may_consume_requests(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], kind: str
) -> None:
    with connection(broker, virtual_host, "guest:guest") as made:
        kombu.Queue("snapmanage-volume")(made.channel()).declare()

    with connection(broker, virtual_host, users[kind]) as made, pytest.raises(AccessRefused):
        made.channel().basic_get("snapmanage-volume")


@pytest.mark.parametrize("kind", KINDS)
def test_users_of_the_page_bind_their_queues_to_their_own_keys_only(
    broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str], kind: str
) -> None:
    """A queue that refuses messages, bound to all keys, would leave every request of others without its confirm."""
    declare_exchange(broker, virtual_host, users["volume"])
    requests = [] if kind == "volume" else [f"snapmanage-volume.{SERVER}"]
    for key in ("#", "*.*", "snapmanage-volume.#", "notifications.#", *requests):
        with connection(broker, virtual_host, users[kind]) as made:
            channel = made.channel()
            channel.queue_declare("snapmanage-audit.own", durable=True, auto_delete=False)
            with pytest.raises(AccessRefused, match="topic"):
                channel.queue_bind("snapmanage-audit.own", EXCHANGE, key)


@pytest.mark.parametrize(
    ("host", "client", "authority", "remedy"),
    [
        (LOOPBACK, "client", "authority", "use a name of the server's certificate in [DEFAULT] transport_url"),
        (NAME, "client", "other_authority", "set [oslo_messaging_rabbit] ssl_ca_file to the file of the CA"),
        (NAME, "strange_client", "authority", "[oslo_messaging_rabbit] ssl_cert_file and ssl_key_file"),
        (NAME, None, "authority", "[oslo_messaging_rabbit] ssl_cert_file and ssl_key_file"),
    ],
    ids=["wrong name", "wrong CA", "client of another CA", "no certificate of the client"],
)
def test_wrong_certificate_of_either_side_is_refused_with_the_remedy(
    broker: TlsRabbitMQ,
    certificates: Certificates,
    configured: Configure,
    host: str,
    client: str | None,
    authority: str,
    remedy: str,
) -> None:
    lines = broker_lines(certificates, getattr(certificates, client or "client"))
    lines = lines.replace(str(certificates.authority.cert), str(getattr(certificates, authority).cert))
    kept = [line for line in lines.splitlines() if client or "client" not in line]
    url = tls_url(broker, "guest:guest", "", host)
    bus, _ = parts.connect_bus(configured("\n".join([f"[DEFAULT]\ntransport_url = {url}", *kept])))

    with closing(bus), pytest.raises(errors.Unavailable) as refused:
        bus.send([Publication("id", "key", b"body")])

    assert remedy in str(refused.value)


def test_expired_certificate_of_the_broker_is_refused(
    broker: TlsRabbitMQ, virtual_host: str, certificates: Certificates, configured: Configure
) -> None:
    with certificates.replaced(certificates.right, certificates.expired):
        broker.control("eval", "ssl:clear_pem_cache().")
        url = tls_url(broker, "guest:guest", "")
        bus, _ = parts.connect_bus(configured(f"[DEFAULT]\ntransport_url = {url}\n{broker_lines(certificates)}"))
        with closing(bus), pytest.raises(errors.Unavailable, match="renew the server's certificate"):
            bus.send([Publication("id", "key", b"body")])
    broker.control("eval", "ssl:clear_pem_cache().")


def test_policies_are_read_over_https(broker: TlsRabbitMQ, certificates: Certificates, configured: Configure) -> None:
    shown = block("tls.md", "The management API", "broker_management_url")
    places = {"monitor:MONITOR_PASSWORD": "guest:guest", "rabbit.example:15671": f"{NAME}:{broker.management_port}"}
    transport = f"transport_url = {tls_url(broker, 'guest:guest', '')}\n{broker_lines(certificates)}"
    conf = configured(adapted(shown, places) + transport)
    bus, names = parts.connect_bus(conf)
    with closing(bus):
        bus.declare(names.event_keys()[:1])

    described = management.describe(conf, names.queue_names()[names.event_keys()[0]])

    assert described["type"] == "quorum"


def connection(broker: TlsRabbitMQ, virtual_host: str, login: str) -> kombu.Connection:
    """Return a connection of a user, over the port without TLS."""
    return kombu.Connection(f"amqp://{login}@{LOOPBACK}:{broker.port}/{virtual_host}")


def are_all_declared(deployment: SeparateUsers) -> bool:
    """Return whether servers and audit have declared their queues: three of a server, two of audit, and the twins."""
    logs = "".join((deployment.folder / f"{name}.log").read_text() for name in ("volume", "audit"))
    return logs.count("Consuming snapmanage-") == 2 and logs.count("Consuming dead-letters.") == 5


def take_rights_away(broker: TlsRabbitMQ, virtual_host: str, users: dict[str, str]) -> None:
    """Give each user the rights of the page for all starts but the first."""
    for kind, login in users.items():
        broker.permit(virtual_host, login.partition(":")[0], permissions(f"snapmanage-{kind}")[1])


def declare_exchange(broker: TlsRabbitMQ, virtual_host: str, login: str) -> None:
    with connection(broker, virtual_host, login) as made:
        kombu.Exchange(EXCHANGE, "topic", durable=True)(made.channel()).declare()


def publish(broker: TlsRabbitMQ, virtual_host: str, login: str, exchange: str) -> None:
    with connection(broker, virtual_host, login) as made:
        producer = kombu.Producer(made.channel())
        producer.publish("body", exchange=exchange, routing_key="snapmanage-volume")
        made.drain_events(timeout=5)
