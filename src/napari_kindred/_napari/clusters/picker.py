"""Buttons that pick a thing in one frame, and show its kind in all frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, LineEdit, PushButton

from ..common.form import labelled, narrow, row
from .picks import cluster_of, leaf_at, narrower, node_of, show_picks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ...clusters.nodes import ClusterNode
    from .layer import Clusters

CLICK = 4
"""Canvas pixels that the mouse may move in a click."""


class Picker(Container):
    """Picks nodes of the tree of one layer of clusters.

    The picks belong to the model of the clusters: they are saved with it, and shown in every movie
    that it labels.
    """

    def __init__(self, show_message: Callable[..., None], viewer: Any) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self.show_message, self._viewer = show_message, viewer
        self._layer: Any = None
        self._clusters: Clusters | None = None
        self._leaf: int | None = None  # that was clicked last
        self.pick = PushButton(
            text="Pick an example",
            tooltip="Then click on a thing in the image: its kind is shown in every frame. "
            "Shift-click on another one widens the pick to both.",
        )
        self.pick.native.setCheckable(True)
        self.wider = PushButton(text="Wider", tooltip="Add what is most alike to this pick.")
        self.narrower = PushButton(
            text="Narrower", tooltip="Keep the part of this pick that is like the last click."
        )
        self.chosen = ComboBox(choices=[], tooltip="The pick to rename, widen, narrow or remove.")
        self.name = LineEdit(tooltip="Name of this pick.")
        self.remove = PushButton(text="Remove", tooltip="Forget this pick.")
        narrow(self.chosen)
        choice = row(self.chosen, self.name, self.remove)
        choice.label = "Picked"
        self.rows = labelled(choice)
        self.extend([row(self.pick, self.wider, self.narrower), self.rows])
        self.pick.native.toggled.connect(self._listen)
        self.wider.changed.connect(lambda: self._move(lambda node: node.wider()))
        self.narrower.changed.connect(lambda: self._move(lambda n: narrower(n, self._leaf)))
        self.chosen.changed.connect(self._show_name)
        self.name.native.editingFinished.connect(self.rename)
        self.remove.changed.connect(self.forget)

    def take(self, layer: Any, clusters: Clusters | None) -> None:
        """Pick in another layer, or in another state of it, from now on."""
        other = layer is not self._layer
        self._layer, self._clusters = layer, clusters
        if other:
            self._leaf = None
            self.pick.native.setChecked(False)
            if clusters is not None and clusters.model.examples_:
                show_picks(self._viewer, layer, clusters)
        self._refresh()

    @property
    def picks(self) -> dict[str, frozenset[int]]:
        """The leaves of each pick by its name."""
        return {} if self._clusters is None else self._clusters.model.examples_

    def _refresh(self, choose: str = "") -> None:
        names = list(self.picks)
        choose = choose or str(self.chosen.value or "")
        with self.chosen.changed.blocked():
            self.chosen.choices = names
            if names:
                self.chosen.value = choose if choose in names else names[-1]
        self.rows.visible = self.wider.enabled = self.narrower.enabled = bool(names)
        self._show_name()

    def _show_name(self, *_: Any) -> None:
        self.name.value = str(self.chosen.value or "")

    # -- clicking --------------------------------------------------------------------------

    def _listen(self, on: bool) -> None:
        """Follow clicks in the viewer while the button is down."""
        self.abandon()
        if on and self._layer is not None:
            self._layer.mode = "pan_zoom"
            self._viewer.mouse_drag_callbacks.append(self._clicked)
            self.show_message("Click on a thing in the image; shift-click adds one more like it.")

    def abandon(self) -> None:
        """Follow no more clicks; the window may be closing."""
        if self._clicked in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._clicked)

    def _clicked(self, _: Any, event: Any) -> Generator[None]:
        start = event.pos
        yield
        while event.type == "mouse_move":
            yield
        moved = max(abs(a - b) for a, b in zip(start, event.pos, strict=True))
        if event.button == 1 and moved <= CLICK and self._clusters is not None:
            if self._viewer.dims.ndisplay == 3:
                self.show_message("Examples are picked in the 2-D view.", wrong=True)
                return
            place = self._layer.world_to_data(event.position)
            self.pick_at(place, more="Shift" in event.modifiers)

    def pick_at(self, place: Any, *, more: bool = False) -> None:
        """Pick the cluster at a place in the layer's data; ``more`` widens the pick that is there.

        What is picked already is chosen, and not picked twice.
        """
        clusters = self._clusters
        leaf = None if clusters is None else leaf_at(clusters, place)
        if clusters is None or leaf is None:
            return
        self._leaf, node = leaf, node_of(clusters, cluster_of(clusters, leaf))
        if not node.leaves:
            self.show_message("This is background; click on a thing.", wrong=True)
            return
        if more and self.chosen.value is not None:
            self._move(node.joined)
            return
        known = next((name for name, old in self.picks.items() if old == node.leaves), None)
        number = len(self.picks) + 1
        while known is None and f"pick {number}" in self.picks:
            number += 1
        name = known or f"pick {number}"
        clusters.model.remember(name, node)
        self._changed(name)

    # -- changing a pick -------------------------------------------------------------------

    def _move(self, change: Callable[[ClusterNode], ClusterNode]) -> None:
        """Replace the chosen pick by a node near it in the tree."""
        name = self.chosen.value
        if self._clusters is not None and name is not None:
            node = change(node_of(self._clusters, self.picks[name]))
            self._clusters.model.remember(name, node)
            self._changed(name)

    def rename(self, *_: Any) -> None:
        """Rename the chosen pick."""
        old, new = self.chosen.value, self.name.value.strip()
        if old is None or new in ("", old):
            self._show_name()
        elif new in self.picks:
            self.show_message(f"There is a pick named {new!r} already.", wrong=True)
            self._show_name()
        else:
            named = {new if name == old else name: node for name, node in self.picks.items()}
            self.picks.clear()
            self.picks.update(named)
            self._changed(new)

    def forget(self, *_: Any) -> None:
        """Remove the chosen pick."""
        if self.chosen.value is not None:
            self.picks.pop(self.chosen.value, None)
            self._changed("")

    def _changed(self, name: str) -> None:
        """Show the picks after a change."""
        self._refresh(name)
        if self._clusters is None:
            return
        shown = show_picks(self._viewer, self._layer, self._clusters)
        if shown is None:
            self._layer.visible = True
        elif name:
            rows = shown.features.set_index("name")
            share = float(rows["share"].fillna(0).get(name, 0))
            frames = rows["frames"].fillna(0).get(name, 0)
            self.show_message(
                f"{name}: {100 * share:.2g} % of the movie, in {frames:.0f} frames; "
                f"shown in the layer {shown.name!r}."
            )
