"""Whom the client asks, and how."""

import dataclasses
from pathlib import Path

from v1keras.command_line import check_values, option, require

_SCHEMES = ("http", "https", "grpcs")
ENCRYPTED = ("https", "grpcs")
"""The schemes of addresses that are reached by TLS."""


@dataclasses.dataclass(frozen=True)
class ClientConfig:
    """Settings of `python -m export.client`, and of `export.client.Client`."""

    image: tuple[str, ...] = option(
        required=True, help="JPEG or PNG files of any size, in one request."
    )
    diagnose: bool = option(
        False,
        "Ask for confidence and for what the camera sees too; needs a model that was "
        "exported with --diagnose.",
    )
    server: str = option(
        "localhost:8500",
        "host:port is asked over gRPC (needs the extra `serving`), http://host:port over "
        "REST; grpcs:// and https:// are the same with TLS.",
        group="server",
    )
    timeout: float = option(
        30.0, "Seconds that an answer may take, with all retries.", group="server"
    )
    retries: int = option(
        3,
        "How often a server that is not available is asked again, after pauses that "
        "double.",
        group="server",
    )
    ca_file: str | None = option(
        None,
        "PEM file of the authorities that may sign the server's certificate. Default: "
        "those that the system trusts.",
        group="server",
    )
    token_file: str | None = option(
        None,
        "File that holds a token, sent as `Authorization: Bearer`; needs TLS.",
        group="server",
    )
    model: str = option(
        "student", "The name that the model is served by.", group="model"
    )
    version: int | None = option(
        None, "Its version. Default: what the server chooses.", group="model"
    )
    label: str | None = option(
        None, "The label of the version instead: stable or previous.", group="model"
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.version is not None and self.label is not None:
            raise ValueError(
                "`version` and `label` must not be given together. "
                f"Received: version={self.version}, label={self.label}"
            )
        require(self, "timeout", self.timeout > 0, "positive")
        require(self, "retries", self.retries >= 0, "at least 0")
        scheme, _, host = self.server.rpartition("://")
        known = bool(host) and scheme in ("", *_SCHEMES)
        named = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        require(self, "server", known, f"host:port, or begin with one of {named}")
        for name in ("ca_file", "token_file"):
            is_safe = getattr(self, name) is None or self.scheme in ENCRYPTED
            require(self, name, is_safe, "given with https:// or grpcs:// only")

    def check_files(self) -> None:
        """Refuses files that are not there.

        Raises:
            ValueError: if one of them is missing or a folder.
        """
        for path in (*self.image, self.ca_file, self.token_file):
            # Pipes count too: --token_file=<(pass show token)
            if path is not None and (not Path(path).exists() or Path(path).is_dir()):
                raise ValueError(
                    "`image`, `ca_file` and `token_file` must be files that exist. "
                    f"Received: {path}"
                )

    @property
    def scheme(self) -> str:
        """What stands before `://` in the server's address, else nothing."""
        return self.server.rpartition("://")[0]

    @property
    def is_rest(self) -> bool:
        """Whether the server is asked over REST, else over gRPC."""
        return self.scheme.startswith("http")
