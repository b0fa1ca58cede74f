"""The token and the TLS certificate: read at the start, and again when the process is told to."""

from __future__ import annotations

import logging
import ssl

from quietdial.agents.serve.api import Token
from quietdial.agents.serve.connections import Limits
from quietdial.agents.serve.errors import ServeError
from quietdial.agents.serve.metrics import Metrics
from quietdial.agents.serve.settings import Settings, read_token

log = logging.getLogger("quietdial.serve")


class Secrets:
    """What a listener asks for and shows, exchanged without closing it.

    Args:
        asked: the settings, with the token as it was read.
        limits: the listener's, whose token is exchanged.
        metrics: where renewals are counted.

    Raises:
        ServeError: the certificate or its key cannot be used.
    """

    def __init__(self, asked: Settings, limits: Limits, metrics: Metrics) -> None:
        self._asked, self._limits, self._metrics = asked, limits, metrics
        limits.token = None if asked.token is None else Token(asked.token)
        self.context = self._newest = self._certificate()
        if self.context is not None:
            self.context.sni_callback = self._choose

    def renew(self) -> None:
        """Read both anew; what is not right is refused with a line in the log, and the old stays.

        Connections that are open keep their certificate; each request needs the new token.
        """
        if self._asked.token_file is not None:
            try:
                self._limits.token = Token(read_token(self._asked.token_file))
                self._done("token", "ok")
            except ServeError as error:
                self._done("token", "refused", str(error))
        if self._newest is not None:
            try:
                self._newest = self._certificate()
                self._done("certificate", "ok")
            except ServeError as error:
                self._done("certificate", "refused", str(error))

    def _done(self, what: str, result: str, why: str = "") -> None:
        self._metrics.secrets.add(what, result)
        if why:
            log.error("%s refused, the old one stays: %s", what, why)
        else:
            log.info("%s read again", what)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Every handshake comes by here, whether it names a server or not."""
        del name
        if self._newest is not None:
            connection.context = self._newest

    def _certificate(self) -> ssl.SSLContext | None:
        cert, key = self._asked.tls_cert, self._asked.tls_key
        if cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise ServeError(f"TLS: {cert} and {key}: {error}") from None
        return context
