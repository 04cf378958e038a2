"""Bytes to an autopilot and back: a serial port, UDP or TCP. Standard library alone."""

import contextlib
import os
import select
import socket

from ..errors import PerceptionError

try:
    import termios
    import tty
except ImportError:  # no serial ports but on POSIX
    termios = tty = None  # type: ignore[assignment]

FORMS = "udpout:HOST:PORT, udpin:HOST:PORT, tcp:HOST:PORT or /dev/TTY:BAUD"
DEFAULT_BAUD = 57600
CONNECT_S = 3.0
MOST_WAITING = 4096  # bytes that wait for a line that takes nothing: more are dropped, for they would come too late


def open_transport(url):
    """The Transport that `url` names.

    Raises:
        PerceptionError: it names none, or what it names is missing, busy or without rights.
    """
    kind, _, rest = url.partition(":")
    try:
        if url.startswith("/"):
            device, _, baud = url.partition(":")
            return _Serial(device, _whole(baud or str(DEFAULT_BAUD), url))
        if kind in ("udpout", "udpin", "tcp"):
            host, _, port = rest.rpartition(":")
            if host:
                return {"udpout": _UdpOut, "udpin": _UdpIn, "tcp": _Tcp}[kind]((host, _whole(port, url)))
    except PerceptionError:
        raise
    except (OSError, OverflowError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise PerceptionError("cannot open {}: {}{}".format(url, reason, _remedy(e))) from None
    raise PerceptionError("'{}' is no MAVLink URL; it must be {}".format(url, FORMS))


def _whole(text, url):
    if not text.isdigit():
        raise PerceptionError("'{}' is no MAVLink URL: '{}' is no number; it must be {}".format(url, text, FORMS))
    return int(text)


def _remedy(error):
    if isinstance(error, PermissionError):
        return "; add the user to the group dialout"
    if isinstance(error, FileNotFoundError):
        return "; is the cable in, and is it another device?"
    return ""


class Transport:
    """A file descriptor with a queue before it. `write` never waits: what the line does not take waits, or is dropped.

    Attributes:
        dropped (int): messages that found too much waiting.
    """

    def __init__(self, fd):
        self._fd, self._waiting, self.dropped = fd, b"", 0

    def read(self, timeout_s):
        """Bytes that came, b'' if none did in time. Writes meanwhile what waits. OSError: the line is gone."""
        readable, writable, _ = select.select([self._fd], [self._fd] if self._waiting else [], [], timeout_s)
        if writable:
            self._flush()
        return self._receive() if readable else b""

    def write(self, data):
        """Send one message's bytes as soon as may be. Whole, or not at all."""
        if self._waiting and len(self._waiting) + len(data) > MOST_WAITING:
            self.dropped += 1
            return
        self._waiting += data
        self._flush()

    @property
    def waiting(self):
        """Bytes that the line has not taken yet."""
        return len(self._waiting)

    def _flush(self):
        try:
            sent = self._send(self._waiting)
        except BlockingIOError:
            return
        self._waiting = self._waiting[sent:]

    def _receive(self):
        raise NotImplementedError

    def _send(self, data):
        raise NotImplementedError

    def close(self):
        """Give the line back."""
        raise NotImplementedError


class _Socket(Transport):
    """A socket that `begin` (its connect or bind) was called of; where that fails, it is closed."""

    def __init__(self, kind, begin, address):
        self._socket = socket.socket(socket.AF_INET, kind)
        super().__init__(self._socket)
        try:
            self._socket.settimeout(CONNECT_S)  # of TCP's connect; UDP waits for nobody
            begin(self._socket, address)
        except OSError:
            self.close()
            raise
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()


class _UdpOut(_Socket):
    def __init__(self, address):
        super().__init__(socket.SOCK_DGRAM, socket.socket.connect, address)

    def _receive(self):
        try:
            return self._socket.recv(65536)
        except (BlockingIOError, ConnectionRefusedError):  # nobody listens there yet
            return b""

    def _send(self, data):
        with contextlib.suppress(ConnectionRefusedError):
            self._socket.send(data)
        return len(data)


class _UdpIn(_Socket):
    """Answers whoever spoke last."""

    def __init__(self, address):
        super().__init__(socket.SOCK_DGRAM, socket.socket.bind, address)
        self._peer = None

    def _receive(self):
        data, self._peer = self._socket.recvfrom(65536)
        return data

    def _send(self, data):
        if self._peer is not None:
            self._socket.sendto(data, self._peer)
        return len(data)


class _Tcp(_Socket):
    def __init__(self, address):
        super().__init__(socket.SOCK_STREAM, socket.socket.connect, address)

    def _receive(self):
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the other side closed it")
        return data

    def _send(self, data):
        return self._socket.send(data)


class _Serial(Transport):
    def __init__(self, device, baud):
        if termios is None:
            raise PerceptionError("serial ports need POSIX; use UDP or TCP")
        speed = getattr(termios, "B{}".format(baud), None)
        if speed is None:
            raise PerceptionError("{}: {} baud is no speed of a serial port here".format(device, baud))
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            if not os.isatty(fd):
                raise PerceptionError("{} is no serial port".format(device))
            _lock(fd, device)
            tty.setraw(fd)
            mode = termios.tcgetattr(fd)
            mode[2] |= termios.CLOCAL | termios.CREAD
            mode[4] = mode[5] = speed
            termios.tcsetattr(fd, termios.TCSANOW, mode)
        except Exception:
            os.close(fd)
            raise
        super().__init__(fd)

    def _receive(self):
        data = os.read(self._fd, 4096)
        if not data:
            raise OSError("the serial port is gone")
        return data

    def _send(self, data):
        return os.write(self._fd, data)

    def close(self):
        os.close(self._fd)


def _lock(fd, device):
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise PerceptionError("{} is busy: another program has it open".format(device)) from None
