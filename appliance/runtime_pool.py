"""Models in memory: each is loaded once, however many products it judges."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.bundle.archive import Bundle
from appliance.certification.certificate import Computed
from appliance.config import RuntimeSection
from appliance.engine import Make, make_runtime
from appliance.events import Pixels
from appliance.ports import RawDetections, Runtime


@dataclass(slots=True)
class _Loaded:
    runtime: Runtime
    users: int = 0


class LentRuntime:
    """One user's hold on a runtime; implements ports.Runtime. The model goes when the last user closes."""

    def __init__(self, runtime: Runtime, give_back: Callable[[], None]) -> None:
        """Lend a runtime; RuntimePool does."""
        self._runtime = runtime
        self._give_back: Callable[[], None] | None = give_back

    @property
    def lent(self) -> Runtime:
        """The runtime itself, for whoever asks what it is."""
        return self._runtime

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model; see ports.Runtime."""
        return self._runtime.infer(images)

    def describe(self) -> str:
        """Return runtime, version, provider and threads in one line."""
        return self._runtime.describe()

    def close(self) -> None:
        """Give the runtime back; harmless when done before."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class RuntimePool:
    """Lends runtimes; the users of one copy of a model must be in one thread, as those of a station's products are."""

    def __init__(self, make: Make = make_runtime) -> None:
        """Begin with none.

        Args:
            make: loads a model.
        """
        self._make = make
        self._loaded: dict[tuple[str, Computed, int], _Loaded] = {}

    def __len__(self) -> int:
        """Return how many models are in memory."""
        return len(self._loaded)

    def lend(
        self, settings: RuntimeSection, bundle: Bundle, precision: Computed, copy: int = 0, *, may_build: bool = True
    ) -> LentRuntime:
        """Return a bundle's model in its runtime, loaded before or now.

        Args:
            settings: the configuration's runtime section.
            bundle: the release.
            precision: what is computed with.
            copy: which of the model's copies: each thread that inspects has its own.
            may_build: whether there is time to build an engine, where one is needed and none is kept.

        Raises:
            ConfigError, BundleFormatError, RuntimeFault, StorageError: it cannot be loaded.
        """
        key = (bundle.digest, precision, copy)
        if key not in self._loaded:
            self._loaded[key] = _Loaded(self._make(settings, bundle, precision, may_build, copy))
        self._loaded[key].users += 1
        return LentRuntime(self._loaded[key].runtime, lambda: self._take_back(key))

    def _take_back(self, key: tuple[str, Computed, int]) -> None:
        loaded = self._loaded[key]
        loaded.users -= 1
        if loaded.users == 0:
            del self._loaded[key]
            loaded.runtime.close()
