"""ILogger and Logger: where TensorRT says why it returned None."""

import sys

from ._surface import State, implements, member


@implements("ILogger.__init__")
def _init(logger):
    logger._state = State()


@implements("ILogger.log")
def _log(logger, severity, msg):
    pass  # pure virtual there, and silent


@implements("Logger.__init__")
def _init_default(logger, min_severity):
    logger._state = State(min_severity=min_severity or member("ILogger.Severity", "WARNING"))


@implements("Logger.log")
def _log_default(logger, severity, msg):
    if int(severity) <= int(logger._state.min_severity):
        sys.stderr.write("[TRT] [{}] {}\n".format(severity.name[0], msg))


@implements("Logger.min_severity")
def _min_severity(logger):
    return logger._state.min_severity


@implements("Logger.min_severity=")
def _set_min_severity(logger, severity):
    logger._state.min_severity = severity


def say(logger, severity, message):
    """Log as the C++ side does: it calls the override, and an exception there goes no further."""
    try:
        logger.log(member("ILogger.Severity", severity), message)
    except Exception as e:
        sys.stderr.write("[ERROR] Exception caught in log(): {}\n".format(e))
