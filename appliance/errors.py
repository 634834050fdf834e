"""Ways to fail, sorted by who must act; a bad part is a verdict and never one of these."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class ApplianceError(Exception):
    """Anything the appliance reports in words: what happened, where, what to do next."""

    def __init__(self, words: str, differences: Sequence[str] = ()) -> None:
        """Say it.

        Args:
            words: all that a person needs.
            differences: one by one what was found to be otherwise than it must be, where the words leave some out.
        """
        super().__init__(words)
        self.differences = tuple(differences)


class ConfigError(ApplianceError):
    """A person must change a file or an argument; the process exits with 78 and is not restarted."""


class DeviceError(ApplianceError):
    """The hardware said no: the part gets a FAULT verdict, the device is opened again."""


class CameraError(DeviceError):
    """A camera is gone, silent, or sends another picture than agreed."""


class RuntimeFault(DeviceError):
    """The inference runtime failed or answered outside the model's contract."""


class AnswerFault(RuntimeFault):
    """The model answered outside its contract; asking it again makes that no better."""

    def __init__(self, what: str, where: str = "") -> None:
        """Take what the model answered with, and for which view, if that is known."""
        place = f"view {where}: " if where else ""
        super().__init__(
            f"{place}the model answered with {what}; it may not judge: export it again, and go back to the release "
            "before, if there is one"
        )
        self.what = what


class EngineFault(RuntimeFault):
    """An engine of this device's own crashes or is none that it takes: only another one may do better."""


def is_the_devices(error: ApplianceError) -> bool:
    """Tell whether the device failed just now, which is no verdict on a model or its engine."""
    return isinstance(error, RuntimeFault) and not isinstance(error, (AnswerFault, EngineFault))


class BundleError(ApplianceError):
    """A release is not acceptable: the running one stays."""


class BundleFormatError(BundleError):
    """The file is not a bundle that this version can read."""


class BundleDigestError(BundleError):
    """A file in the bundle is not the one that the manifest names."""


class BundleProofError(BundleError):
    """This device does not get the trainer's detections from this bundle."""


class BundleSlowError(BundleProofError):
    """The detections are right but take too long here; a device that is busy starting up may do better soon."""


class BundleTrustError(BundleError):
    """Nobody whom this device trusts vouches for the bundle."""


class ReplayError(BundleTrustError):
    """Something older than this device has seen is offered as the newest: worth an alarm."""


class DeliveryError(ApplianceError):
    """The network said no: the record stays in the outbox and is sent again."""


class StorageError(ApplianceError):
    """The disk said no: the station stops taking parts."""


EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
"""What a shell says of a program that SIGTERM ended."""
EXIT_CODES: tuple[tuple[type[ApplianceError], int], ...] = (
    (ConfigError, 78),  # EX_CONFIG: systemd does not restart
    (BundleSlowError, 75),  # EX_TEMPFAIL: systemd tries again
    (BundleError, 65),  # EX_DATAERR
    (DeviceError, 69),  # EX_UNAVAILABLE
    (StorageError, 74),  # EX_IOERR
)


@contextmanager
def of_the_device() -> Iterator[None]:
    """What this device has is no fault of a release: a person must mend it, and it is waited for.

    Raises:
        ConfigError: in place of a BundleError.
    """
    try:
        yield
    except BundleError as error:
        raise ConfigError(f"what this device has is damaged: {error}") from error


def exit_code(error: ApplianceError) -> int:
    """Return what a command exits with after this error: the same in every command (docs/operating.md)."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), EXIT_REFUSED)


def refused_path(error: OSError) -> StorageError:
    """Say in words which path the system refused.

    Raises:
        OSError: It names no path, so it is a defect of the program.
    """
    if error.filename is None:
        raise error
    return StorageError(f"{error.filename}: {error.strerror}; check the path and this user's rights")


def end(program: str, error: ApplianceError | OSError) -> int:
    """Say on stderr why a program ends, and return what it exits with.

    Args:
        program: its name.
        error: what ended it; of the system's own errors only those that name a path are a person's matter.

    Raises:
        OSError: It names no path, so it is a defect of the program.
    """
    if isinstance(error, OSError):
        error = refused_path(error)
    sys.stderr.write(f"{program}: {error}\n")
    return exit_code(error)
