"""Bytes to an autopilot and back: a serial port, UDP or TCP. Standard library alone."""

import contextlib
import errno
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


def parse_url(url):
    """(kind, where, number) of a URL: ('serial', device, baud), or ('udpout', 'udpin' or 'tcp', host, port).

    A device may hold colons, as those in /dev/serial/by-path do; without a baud rate it has DEFAULT_BAUD.

    Raises:
        PerceptionError: it is none.
    """
    kind, _, rest = url.partition(":")
    if url.startswith("/"):
        device, _, baud = url.rpartition(":")
        if not device or (os.path.exists(url) and not baud.isdigit()):
            return "serial", url, DEFAULT_BAUD
        return "serial", device, _whole(baud, url, "baud rate")
    host, _, port = rest.rpartition(":")
    if kind not in ("udpout", "udpin", "tcp") or not host:
        raise PerceptionError("'{}' is no MAVLink URL; it must be {}".format(url, FORMS))
    if _whole(port, url, "port") > 65535:
        raise PerceptionError("'{}' is no MAVLink URL: ports end at 65535".format(url))
    return kind, host, int(port)


def open_transport(url):
    """The Transport that `url` names.

    Raises:
        PerceptionError: it names none, or what it names is missing, busy or without rights.
    """
    kind, where, number = parse_url(url)
    try:
        if kind == "serial":
            return _Serial(where, number)
        return {"udpout": _UdpOut, "udpin": _UdpIn, "tcp": _Tcp}[kind]((where, number))
    except (OSError, UnicodeError) as e:  # the latter: a name that is none of a host
        reason = getattr(e, "strerror", None) or str(e)
        raise PerceptionError("cannot open {}: {}{}".format(url, reason, _remedy(kind, e))) from None


def _whole(text, url, what):
    if not text.isdecimal():
        problem = "'{}' is no MAVLink URL: '{}' is no number, but stands where the {} must; it must be {}"
        raise PerceptionError(problem.format(url, text, what, FORMS))
    return int(text)


def _remedy(kind, error):
    if kind == "serial" and isinstance(error, PermissionError):
        return "; add the user to the group dialout"
    if kind == "serial" and isinstance(error, FileNotFoundError):
        return "; is the cable in, and is it another device?"
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return "; another program listens there"
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

    def settle(self):
        """Whom we heard last is the autopilot: it is the one to answer."""

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
    """Answers the address of the autopilot; before that is known, whoever spoke last."""

    def __init__(self, address):
        super().__init__(socket.SOCK_DGRAM, socket.socket.bind, address)
        self._last = self._peer = None
        self._settled = False

    def settle(self):
        self._settled, self._peer = True, self._last

    def _receive(self):
        try:
            data, self._last = self._socket.recvfrom(65536)
        except BlockingIOError:  # a datagram whose checksum was wrong
            return b""
        if not self._settled:
            self._peer = self._last
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
            mode[2] &= ~(termios.CSTOPB | getattr(termios, "CRTSCTS", 0))  # as another program may have left it
            mode[4] = mode[5] = speed
            termios.tcsetattr(fd, termios.TCSANOW, mode)
        except Exception as e:
            os.close(fd)
            if isinstance(e, termios.error):  # unplugged meanwhile
                raise OSError(*e.args) from None
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
        with contextlib.suppress(termios.error):  # it is unplugged
            termios.tcflush(self._fd, termios.TCIOFLUSH)  # or close waits until a line that takes nothing took all
        os.close(self._fd)


def _lock(fd, device):
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise PerceptionError("{} is busy: another program has it open".format(device)) from None
