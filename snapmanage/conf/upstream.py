"""Options of the reports to an upstream API with records of its own."""

from oslo_config import cfg

UPSTREAM = [
    cfg.StrOpt(
        "endpoint",
        help="URL of the REST API of a Cinder that casts to these servers, up to its version and without a project, "
        "such as https://cinder.example.org:8776/v3. If it is set, snapmanage-volume reports to it the outcome of each "
        "request that arrived in Cinder's dialect, until Cinder has taken the outcome. It needs snapmanage[upstream] "
        "and credentials. If it is not set, nothing is reported, and the snapshots of a Cinder stay in creating.",
    ),
    cfg.StrOpt(
        "auth_type",
        help="Plugin of keystoneauth that authenticates at the endpoint, such as password or "
        "v3applicationcredential. Its user needs the role admin in a project. With none, requests have the header "
        "that a Cinder with auth_strategy noauth expects.",
    ),
    cfg.StrOpt(
        "cafile",
        help="File of the CAs that may issue the certificates of the endpoint and of Keystone. If it is not set, the "
        "CAs of Python's package certifi are trusted. Certificates are always checked.",
    ),
    cfg.StrOpt(
        "certfile",
        help="File of the client's certificate, for an endpoint that requires one.",
    ),
    cfg.StrOpt(
        "keyfile",
        help="File of the private key of certfile. It must have no password.",
    ),
    cfg.FloatOpt(
        "timeout_seconds",
        default=10,
        min=1,
        help="Seconds after which a request to the endpoint is abandoned, the one for a token included. With a higher "
        "value, an endpoint that hangs delays other outcomes for longer, and the outcomes that a killed process was "
        "sending are sent later. With a lower value, slow answers count as failures.",
    ),
    cfg.IntOpt(
        "parallel",
        default=4,
        min=1,
        max=64,
        help="Outcomes that a process of snapmanage-volume reports at the same time. A higher value reports a backlog "
        "sooner. A lower value is less load for the endpoint.",
    ),
    cfg.FloatOpt(
        "interval_seconds",
        default=1,
        min=0.05,
        help="Seconds between two queries of a process for unreported outcomes. A higher value causes fewer queries. "
        "With a lower value, an outcome is reported sooner.",
    ),
]

# The plugin of keystoneauth that auth_type names registers its options itself; these are the usual ones, for the
# sample.
CREDENTIALS = [
    cfg.StrOpt("auth_url", help="URL of Keystone, such as https://keystone.example.org:5000/v3."),
    cfg.StrOpt("username", help="Name of the user that reports outcomes."),
    cfg.StrOpt("password", secret=True, help="Password of the user."),
    cfg.StrOpt("user_domain_name", help="Domain of the user."),
    cfg.StrOpt("project_name", help="Project in which the user has its role."),
    cfg.StrOpt("project_domain_name", help="Domain of the project."),
]
