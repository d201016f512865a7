"""A board's settings, from `firmware_configs`, and the files they become: units, sysctl, config.txt block, first boot.

`board_apply` puts them on a system and takes them off again; `edgedefend deploy` uses `detect` and `render_unit`.
"""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from edgedefend.board_schema import check, forbidden_setting
from edgedefend.device import Device
from edgedefend.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

__all__ = [
    "BoardConfig",
    "board_names",
    "detect",
    "load_board",
    "parse_board",
    "render_config_txt",
    "render_files",
    "render_run_unit",
    "render_unit",
    "render_user_data",
]

_GENERIC = "generic-arm64"
PREFIX = "/opt/edgedefend"
USER = "edgedefend"
PORT = 8765


@dataclass(frozen=True)
class BoardConfig:
    """What one TOML file says, checked. Memory in MiB, times in s, temperatures in degrees Celsius.

    `numba_target` is a key of `edgedefend.jit.TARGETS`, or "host": kernels are compiled on the board. `config_txt` is
    (key, value) a line, empty but on a Raspberry Pi. `power_modes` are names, the first one that the board has is
    used; empty but on a Jetson. `hardware_watchdog_s` and the `supply_*` are None where they do not apply.
    """

    name: str
    title: str
    kind: str
    compatible: tuple[str, ...]
    cpu: str
    cpu_parts: tuple[str, ...]
    cores: int
    threads: int
    numba_target: str
    governor: str
    config_txt_filter: str
    config_txt: tuple[tuple[str, str], ...]
    power_modes: tuple[str, ...]
    jetson_clocks: bool
    service_watchdog_s: int
    hardware_watchdog_s: int | None
    memory_high_mb: int
    memory_max_mb: int
    sysctl: tuple[tuple[str, int], ...]
    packages: tuple[str, ...]
    throttle_sources: tuple[str, ...]
    warn_c: float
    limit_c: float
    supply_volts: float | None
    supply_minimum_volts: float | None
    supply_amperes: float | None
    precision: str


def parse_board(text: str, file: str) -> BoardConfig:
    """Return the settings in `text`, the content of the TOML file named `file`.

    Raises
    ------
    InputError
        If it is not TOML or does not keep to the schema: one line with the file and the key.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not TOML: {error or 'nested too deeply'}") from None
    values = check(table, file)
    hardware = values.get("watchdog.hardware")
    return BoardConfig(
        name=values["name"],
        title=values["title"],
        kind=values["recognise.kind"],
        compatible=values["recognise.compatible"],
        cpu=values["cpu.name"],
        cpu_parts=values["cpu.parts"],
        cores=values["cpu.cores"],
        threads=values["cpu.threads"],
        numba_target=values["cpu.numba_target"],
        governor=values["cpu.governor"],
        config_txt_filter=values.get("config_txt.filter", "all"),
        config_txt=values.get("config_txt.keys", ()),
        power_modes=values.get("nvpmodel.modes", ()),
        jetson_clocks=values.get("nvpmodel.jetson_clocks", False),
        service_watchdog_s=int(values["watchdog.service"]),
        hardware_watchdog_s=None if hardware is None else int(hardware),
        memory_high_mb=int(values["memory.high"]),
        memory_max_mb=int(values["memory.max"]),
        sysctl=values["sysctl"],
        packages=values["packages.apt"],
        throttle_sources=values["throttle.sources"],
        warn_c=values["thermal.warn"],
        limit_c=values["thermal.limit"],
        supply_volts=values.get("supply.nominal"),
        supply_minimum_volts=values.get("supply.minimum"),
        supply_amperes=values.get("supply.current"),
        precision=values["model.precision"],
    )


def board_names() -> list[str]:
    """Return the names of all boards, sorted, the generic one last."""
    folder = resources.files("firmware_configs")
    names = [entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return sorted(names, key=lambda name: (name == _GENERIC, name))


def load_board(name: str) -> BoardConfig:
    """Return the settings of a board.

    Raises
    ------
    InputError
        If there is no such board, or its file does not keep to the schema.
    """
    if name not in board_names():
        raise InputError(f"unknown board {name!r}: expected one of {', '.join(board_names())}")
    file = resources.files("firmware_configs") / f"{name}.toml"
    board = parse_board(file.read_text(encoding="utf-8"), f"{name}.toml")
    if board.name != name:
        raise InputError(f"{name}.toml: name is {board.name!r}, expected the name of the file")
    return board


def detect(device: Device) -> BoardConfig:
    """Return the settings for the board that `device` is: by its device tree, else the generic ones."""
    for name in board_names():
        board = load_board(name)
        if any(fnmatch.fnmatchcase(given, wanted) for given in device.compatible for wanted in board.compatible):
            return board
    return load_board(_GENERIC)


def _template(name: str, **values: Any) -> str:
    text = (resources.files("firmware_configs") / "templates" / name).read_text(encoding="utf-8")
    rendered = Template(text).substitute(values)
    setting = forbidden_setting(rendered)
    if setting:
        raise InputError(f"{name}: holds {setting!r}, which can void the warranty or set a permanent bit")
    return rendered


def _checked(prefix: str, user: str, port: int) -> None:
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", prefix) or ".." in prefix:
        raise InputError(f"{prefix!r} is not a folder for releases: expected an absolute path of plain letters")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user):
        raise InputError(f"{user!r} is not the name of a user: expected lower-case letters, digits, _ and -")
    if not 1 <= port <= 65535:
        raise InputError(f"port {port}: expected 1 to 65535")


def render_unit(board: BoardConfig, *, prefix: str = PREFIX, user: str = USER, port: int = PORT) -> str:
    """Return the text of edgedefend.service: it serves `<prefix>/current/bundle` on the loopback interface.

    Raises
    ------
    InputError
        If `prefix`, `user` or `port` cannot stand in a unit.
    """
    _checked(prefix, user, port)
    title = "Image classification behind a preprocessing defence"
    return _service(board, prefix, user, title, f"serve {prefix}/current/bundle --port {port}")


def render_run_unit(board: BoardConfig, *, prefix: str = PREFIX, user: str = USER) -> str:
    """Return the text of edgedefend-run@.service: an instance a camera, named by ``/etc/edgedefend/run/NAME.*``.

    ``NAME.source`` holds the source, which may have a password in it; ``NAME.env`` has ``OPTIONS=`` and what else the
    environment is to hold.

    Raises
    ------
    InputError
        If `prefix` or `user` cannot stand in a unit.
    """
    _checked(prefix, user, PORT)
    folder = "/etc/edgedefend/run"
    command = f"run {prefix}/current/bundle @{folder}/%i.source --name %i --quiet $OPTIONS"
    conditions = f"\nConditionPathExists={folder}/%i.source"
    more = f"EnvironmentFile=-{folder}/%i.env\n"
    return _service(board, prefix, user, "Image classification of the camera %i", command, conditions, more)


def _service(
    board: BoardConfig, prefix: str, user: str, title: str, command: str, conditions: str = "", more: str = ""
) -> str:
    # The first cores: the ones that every power mode keeps on, and on large chips one cluster with one cache.
    pinned = board.threads < board.cores
    affinity = f"CPUAffinity=0-{board.threads - 1}" if pinned else "# All cores may be used: CPUAffinity is not set."
    return _template(
        "edgedefend.service",
        board=board.name,
        prefix=prefix,
        user=user,
        title=title,
        command=command,
        conditions=conditions,
        affinity=more + affinity,
        watchdog_s=board.service_watchdog_s,
        memory_high_mb=board.memory_high_mb,
        memory_max_mb=board.memory_max_mb,
    )


def render_config_txt(board: BoardConfig) -> list[str]:
    """Return the lines that config.txt gets, without line ends; empty where the board has no config.txt."""
    if not board.config_txt:
        return []
    settings = "\n".join(f"{key}={value}" for key, value in board.config_txt)
    return _template("config.txt", filter=board.config_txt_filter, settings=settings).splitlines()


def render_files(
    board: BoardConfig, *, prefix: str = PREFIX, user: str = USER, port: int = PORT, unit: bool = True
) -> dict[str, str]:
    """Return path -> text of every file that is wholly ours on the board.

    `unit` = False leaves edgedefend.service out, for whoever installs it otherwise.
    """
    _checked(prefix, user, port)
    files = {
        "/etc/sysusers.d/edgedefend.conf": _template("sysusers.conf", user=user),
        "/etc/sysctl.d/90-edgedefend.conf": _template(
            "sysctl.conf", board=board.name, settings="\n".join(f"{name} = {value}" for name, value in board.sysctl)
        ),
        "/etc/tmpfiles.d/edgedefend.conf": _template("tmpfiles.conf", board=board.name, governor=board.governor),
    }
    if unit:
        files["/etc/systemd/system/edgedefend.service"] = render_unit(board, prefix=prefix, user=user, port=port)
    if board.hardware_watchdog_s is not None:
        files["/etc/systemd/system.conf.d/90-edgedefend.conf"] = _template(
            "watchdog.conf", board=board.name, hardware_s=board.hardware_watchdog_s
        )
    if board.power_modes:
        files["/etc/systemd/system/edgedefend-jetson.service"] = _template(
            "edgedefend-jetson.service", board=board.name, prefix=prefix
        )
    return files


def render_user_data(board: BoardConfig, *, hostname: str, admin: str, ssh_key: str) -> str:
    """Return cloud-init's `user-data` for a first boot: packages, an administrator with a key, and our files.

    Raises
    ------
    InputError
        If the host name, the administrator's name or the public key is not one.
    """
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", hostname):
        raise InputError(f"{hostname!r} is not a host name: expected letters, digits and -")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", admin) or admin in ("root", USER):
        raise InputError(f"{admin!r} cannot be the administrator: expected a user name other than root and {USER}")
    key = ssh_key.strip()
    if not re.fullmatch(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\n\r\"\\]*)?", key):
        raise InputError("the SSH key is not a public key: expected the one line of a file such as id_ed25519.pub")
    files = [
        json.dumps({"path": path, "permissions": "0644", "content": text}, ensure_ascii=False)
        for path, text in render_files(board).items()
    ]
    return _template(
        "user-data",
        board=board.name,
        hostname=hostname,
        admin=admin,
        ssh_key=json.dumps(key),
        packages=", ".join(board.packages),
        files="\n".join(f"  - {file}" for file in files),
    )
