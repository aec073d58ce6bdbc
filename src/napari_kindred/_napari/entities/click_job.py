"""Outlines for clicks on a result's image, computed in another thread, the latest wish first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, KindredError
from ..common.layers import KEY, read_layer
from ..common.worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from ...entities.click import Clicker, Outline
    from ...entities.regions import Prompt
    from ...images.readers import ImageFile
    from .edit_layer import ShownPlane

    Then = Callable[[list["Outline"]], None]
    Wish = tuple["ShownPlane", "Prompt", "NDArray[Any]", Then, bool]

PLANES = 4
"""Planes whose looks are kept."""


class ClickJob:
    """Finds outlines on the images of results; the network and what it said are kept."""

    def __init__(self, viewer: Any, on_failure: Callable[[KindredError], None]) -> None:
        self._viewer, self._on_failure = viewer, on_failure
        self._networks: dict[str, Any] = {}
        self._clickers: dict[Hashable, Clicker] = {}
        self._job: Job | None = None
        self._next: Wish | None = None

    @property
    def loaded(self) -> bool:
        """Whether a network is there, so that a click need not wait for one."""
        return bool(self._networks)

    def ask(
        self,
        plane: ShownPlane,
        prompt: Prompt,
        labels: NDArray[Any],
        then: Then,
        *,
        preview: bool = False,
    ) -> None:
        """Compute outlines next to the objects ``labels`` (Y, X), and hand them over.

        Of the wishes that come meanwhile only the last waits, and no preview takes a click's place.
        """
        if self._job is not None:
            if not (preview and self._next is not None and not self._next[-1]):
                self._next = plane, prompt, labels, then, preview
            return
        try:
            key, file = self._source(plane)
        except KindredError as error:
            self._on_failure(error)
            return
        entry = plane.layer.metadata[KEY]
        self._job = Job(
            partial(self._outlines, key, file, plane, entry, prompt, labels),
            "Looking at the click",
            on_success=partial(self._done, then, preview),
            on_failure=self._failed,
            on_cancel=self._over,
        )

    def abandon(self) -> None:
        """Drop everything: the widget is closed."""
        self._next = None
        if self._job is not None:
            self._job.abandon()
            self._job = None
        self._networks.clear()
        self._clickers.clear()

    def _source(self, plane: ShownPlane) -> tuple[Hashable, ImageFile]:
        """Return the image that a result was made of, and what tells it from others."""
        name = plane.layer.metadata[KEY].get("source_layer")
        images = [one for one in self._viewer.layers if one.name == name and hasattr(one, "rgb")]
        if not images:
            raise InputError(
                f"The image {name!r} is not open any more; open it to add objects by a click."
            )
        file = read_layer(images[0]).file
        return (images[0].unique_id, id(file.data), plane.index), file

    def _outlines(
        self,
        key: Hashable,
        file: ImageFile,
        plane: ShownPlane,
        entry: dict[str, Any],
        prompt: Prompt,
        labels: NDArray[Any],
    ) -> list[Outline]:
        """Compute outlines; called in another thread, one call at a time."""
        clicker = self._clickers.pop(key, None)
        if clicker is None:
            from ...entities.checkpoint import load_network
            from ...entities.click import Clicker
            from ...images.stack import ImageStack

            weights = str((entry.get("config") or {}).get("weights") or "kindred-entities")
            if weights not in self._networks:
                self._networks[weights] = load_network(weights)[0]
            frames = ImageStack.open(file, entry.get("axes"), entry.get("channel"))
            if frames.plane_shape != plane.labels.shape:
                raise InputError(
                    "The image has another size than the labels; open the one they were made of."
                )
            place = plane.frame_index(frames.axes)
            clicker = Clicker.of_frame(self._networks[weights], frames, place)
        self._clickers[key] = clicker
        while len(self._clickers) > PLANES:
            self._clickers.pop(next(iter(self._clickers)))
        return clicker(prompt, labels)

    def _done(self, then: Then, preview: bool, outlines: list[Outline]) -> None:
        self._job = None
        if self._next is None or not preview:
            then(outlines)
        if self._job is None:  # else it has asked for more
            self._over()

    def _failed(self, error: KindredError) -> None:
        self._next = None
        self._over()
        self._on_failure(error)

    def _over(self) -> None:
        """Begin with what was asked for meanwhile."""
        self._job, wish, self._next = None, self._next, None
        if wish is not None:
            self.ask(*wish[:-1], preview=wish[-1])
