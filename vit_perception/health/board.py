"""The board as Linux reports it in /sys and /proc: temperature, throttling, memory. A missing file reports nothing."""

import ctypes
import glob
import os


def temperature_c(pattern="/sys/class/thermal/thermal_zone*/temp"):
    """The hottest thermal zone that Linux reports, in degrees Celsius, or None if it reports none."""
    readings = []
    for name in glob.glob(pattern):
        try:
            with open(name) as f:
                readings.append(int(f.read()) / 1000.0)
        except (OSError, ValueError):  # zones that are switched off
            continue
    return max(readings) if readings else None


def throttling(thermal="/sys/class/thermal", cpus="/sys/devices/system/cpu"):
    """What slows the processors down just now, in words, '' if nothing does or nothing says so.

    Cooling devices that are at work (on a Jetson cpu_alert and gpu_alert among them; fans do not slow anything), and
    processors whose allowed frequency is below their highest.
    """
    found = []
    for folder in sorted(glob.glob(os.path.join(thermal, "cooling_device*"))):
        kind, state = _read(folder, "type"), _number(folder, "cur_state")
        if state and "fan" not in kind.lower():
            found.append("{} {:.0f}".format(kind, state))
    for folder in sorted(glob.glob(os.path.join(cpus, "cpu[0-9]*", "cpufreq"))):
        allowed, highest = _number(folder, "scaling_max_freq"), _number(folder, "cpuinfo_max_freq")
        if allowed and highest and allowed < highest:
            cpu = os.path.basename(os.path.dirname(folder))
            found.append("{} {:.0f} of {:.0f} MHz".format(cpu, allowed / 1000, highest / 1000))
    return ", ".join(found)


def rss_mb(path="/proc/self/status", field="VmRSS"):
    """Resident memory in MiB of the process with this /proc/PID/status, or None where there is none.

    Args:
        field: VmRSS; VmHWM is the most it ever was; RssAnon is what no file and no other process has part in.
    """
    try:
        with open(path) as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024.0
    except (OSError, ValueError, IndexError):
        pass
    return None


def return_free_memory():
    """Give the pages that were freed back to Linux, where the C library can (glibc); else it keeps them for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _read(folder, name):
    try:
        with open(os.path.join(folder, name)) as f:
            return f.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(folder, name):
    text = _read(folder, name)
    return int(text) if text.isdigit() else 0
