"""RabbitMQ: one node, or three that replicate.

A node is told by its environment to keep everything in its own folder: its name, its data, its logs, its plugins, the
cookie by which nodes know each other. The daemon by which Erlang's nodes find each other (`epmd`) is one of its own, on
a port of its own and on loopback, so that no other node of this machine is met, and it ends with the rest.
"""

from __future__ import annotations

from pathlib import Path

from .machine import Machine
from .plan import HOST, Kind, Means, Plan, Process, Recipe, Request
from .recipes import package

#: Debian's program on the PATH becomes another user; this is what it runs.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def find(machine: Machine) -> Means | None:
    """Return what there is."""
    program = machine.programs.get("rabbitmq-server")
    if program is None or "epmd" not in machine.programs:
        return None
    if program == "/usr/sbin/rabbitmq-server":
        program = str(_DEBIAN)
    return Means(
        by="rabbitmq-server on the PATH", program=program, library=Path(machine.programs["epmd"]).parent
    )


def plan(means: Means, request: Request) -> Plan:
    """Return the nodes, and the daemon by which they find each other.

    The ports among themselves are that daemon's, then one for each node.
    """
    assert means.library is not None
    epmd, *between = request.inner
    folders = [request.folder / f"node{number}" for number in range(1, request.nodes + 1)]
    daemon = Process(
        name="epmd",
        argv=(str(means.library / "epmd"), "-port", str(epmd), "-address", HOST),
    )
    nodes = [
        Process(
            name=folder.name,
            argv=(means.program,),
            env=_environment(folder, number, between[number], epmd, request),
            port=request.ports[number],
        )
        for number, folder in enumerate(folders)
    ]
    return Plan(
        url=f"amqp://guest:guest@{HOST}:{request.ports[0]}/",
        folders=(request.folder / "home", *folders),
        files={folder / "rabbitmq.conf": _settings(number, request) for number, folder in enumerate(folders)}
        | {folder / "enabled_plugins": "[].\n" for folder in folders},
        processes=(daemon, *nodes),
    )


def install(machine: Machine) -> Recipe:
    """Return how to get it."""
    return package(machine, debian="rabbitmq-server", brew="rabbitmq")


def _name(number: int, request: Request) -> str:
    """Return a node's name, which must be its own among all of the machine."""
    return f"waystation{request.ports[number]}@localhost"


def _settings(number: int, request: Request) -> str:
    lines = [
        f"listeners.tcp.local = {HOST}:{request.ports[number]}",
        # As the server's makers set it for development: the default refuses to publish on a disk that is nearly full.
        "disk_free_limit.absolute = 50MB",
    ]
    if request.nodes > 1:
        lines.append("cluster_formation.peer_discovery_backend = classic_config")
        lines += [
            f"cluster_formation.classic_config.nodes.{each + 1} = {_name(each, request)}"
            for each in range(request.nodes)
        ]
    return "\n".join(lines) + "\n"


def _environment(folder: Path, number: int, between: int, epmd: int, request: Request) -> dict[str, str]:
    mine = "RABBITMQ_"
    return {
        "HOME": str(request.folder / "home"),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
        f"{mine}NODENAME": _name(number, request),
        f"{mine}DIST_PORT": str(between),
        f"{mine}CONF_ENV_FILE": str(folder / "none"),
        f"{mine}CONFIG_FILE": str(folder / "rabbitmq.conf"),
        f"{mine}ADVANCED_CONFIG_FILE": str(folder / "none"),
        f"{mine}ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        f"{mine}MNESIA_BASE": str(folder / "mnesia"),
        f"{mine}LOG_BASE": str(folder / "log"),
        f"{mine}LOGS": "-",
        f"{mine}FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        f"{mine}PLUGINS_EXPAND_DIR": str(folder / "plugins"),
        f"{mine}GENERATED_CONFIG_DIR": str(folder / "generated"),
        f"{mine}PID_FILE": str(folder / "pid"),
        # The server itself in place of a shell that waits for it, so that its number is known to whoever ends it.
        f"{mine}ALLOW_INPUT": "1",
        # Nodes listen on loopback for each other too. A dump of their tables would lie wherever they were started from.
        f"{mine}SERVER_ADDITIONAL_ERL_ARGS": (
            "-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1} -mnesia core_dir false"
        ),
    }


KIND = Kind(
    name="rabbitmq",
    title="RabbitMQ",
    port=5672,
    programs=("rabbitmq-server", "epmd"),
    nodes=(1, 3),
    inner_ports=lambda nodes: nodes + 1,
    find=find,
    plan=plan,
    install=install,
    start_s=90.0,
    stop_s=30.0,
)
