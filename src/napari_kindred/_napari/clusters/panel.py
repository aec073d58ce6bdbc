"""What there is to do with clusters that are there: level, names, colours, background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, Label, LineEdit, PushButton, Slider
from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QColorDialog

from ..common.form import labelled, row, sentence
from .layer import Clusters, at_level, background_toggled, clusters_of, coloured, named, show

if TYPE_CHECKING:
    from collections.abc import Callable

SWATCH = 12
"""Side, in pixels, of the coloured square before a cluster in the list."""

BETWEEN_LEVELS = 30
"""Milliseconds for which a slider has to rest before the movie follows it."""


class ClusterPanel(Container):
    """Changes one layer of clusters; hidden while there is none.

    Parameters
    ----------
    show_message : callable
        Shows a sentence to the user.
    keep : callable
        Puts a copy of a layer beside it, called before what was painted on it would be lost.
    """

    def __init__(self, show_message: Callable[[str], None], keep: Callable[[Any], str]) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self._show_message, self._keep = show_message, keep
        self._layer: Any = None
        self._painted = False
        self.level = Slider(
            label="JobView",
            min=2,
            max=3,
            readout=False,
            tooltip="How many clusters to show: splits or merges them in the whole movie.",
        )
        self.count = Label(value="")
        self.cluster = ComboBox(
            label="Cluster",
            choices=[],
            tooltip="The cluster that is selected; in the picture, pick one with napari's pipette.",
        )
        self.name = LineEdit(
            label="Name", tooltip="Name this cluster; the layer's features keep it."
        )
        self.colour = PushButton(text="Colour …", tooltip="Choose the colour of this cluster.")
        self.background = PushButton(
            text="Make background",
            tooltip="Hide this cluster and give its pixels label 0, or take that back.",
        )
        buttons = row(self.colour, self.background)
        self.about = sentence()
        level = labelled(self.level)
        level.append(self.count)
        rows = [labelled(widget) for widget in (self.cluster, self.name)]
        self.extend([self.about, level, *rows, buttons])
        # Dragging passes many levels; the movie follows when the slider rests.
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.setInterval(BETWEEN_LEVELS)
        self._timer.timeout.connect(self.relabel)
        self.level.changed.connect(self._wait)
        self.level.changed.connect(self._show_count)
        self.cluster.changed.connect(self._choose)
        self.name.native.editingFinished.connect(self.rename)
        self.colour.changed.connect(self.ask_colour)
        self.background.changed.connect(self.toggle_background)

    @property
    def layer(self) -> Any:
        """The layer that is worked on, or None."""
        return self._layer

    @property
    def clusters(self) -> Clusters | None:
        """What that layer shows."""
        return clusters_of(self._layer)

    def take(self, layer: Any) -> None:
        """Work on another layer; None, or a layer without clusters, hides the panel."""
        self._release()
        self._layer = layer if clusters_of(layer) is not None else None
        if self._layer is not None:
            self._layer.events.selected_label.connect(self._follow)
            self._layer.events.paint.connect(self._note_paint)
        self.visible = self._layer is not None
        self._refresh()

    def _release(self) -> None:
        if self._layer is not None:
            self._timer.stop()
            self._layer.events.selected_label.disconnect(self._follow)
            self._layer.events.paint.disconnect(self._note_paint)
        self._painted = False

    def _refresh(self) -> None:
        clusters = self.clusters
        if clusters is None:
            return
        self.about.value = f"Clusters in {self._layer.name!r}:"
        with self.level.changed.blocked():
            self.level.min = int(clusters.result.levels[0])
            self.level.max = int(clusters.result.levels[-1])
            self.level.value = clusters.level
        self.level.enabled = self.level.max > self.level.min
        self._show_count()
        with self.cluster.changed.blocked():
            rows = clusters.result.table.set_index("index")
            self.cluster.choices = []  # else those that are called anew would go to the end
            self.cluster.choices = [
                (_title(clusters, label, rows["share"].get(label, 0.0)), label)
                for label in clusters.labels()
            ]
            for place, label in enumerate(clusters.labels()):
                self.cluster.native.setItemIcon(place, _swatch(clusters, label))
        self._follow()

    def _show_count(self, *_: Any) -> None:
        self.count.value = f"{self.level.value} of {self.level.max}"

    def _follow(self, *_: Any) -> None:
        """Show the cluster that is selected in the layer."""
        clusters = self.clusters
        if clusters is None:
            return
        label = int(self._layer.selected_label)
        known = label in clusters.labels()
        if known:
            with self.cluster.changed.blocked():
                self.cluster.value = label
        self.name.enabled = self.colour.enabled = known
        self.name.value = clusters.name(label) if known else ""
        self._show_background_button(clusters, label)

    def _show_background_button(self, clusters: Clusters, label: int) -> None:
        back = clusters.hidden(label) or label == 0
        self.background.text = "Bring back" if back else "Make background"
        self.background.enabled = bool(clusters.leaves(label) if label else clusters.background)
        self.background.tooltip = (
            "Show what was made background as clusters again."
            if back
            else "Give the pixels of this cluster the label 0; the same button brings them back."
        )

    def _note_paint(self, *_: Any) -> None:
        self._painted = True

    def _choose(self, label: int | None) -> None:
        if self._layer is not None and label is not None:
            self._layer.selected_label = label
            self._follow()

    # -- changing it -----------------------------------------------------------------------

    def _change(self, clusters: Clusters, *, picture: bool = False) -> None:
        """Show the clusters as they are now, having put aside what was painted on them."""
        if picture and self._painted:
            self._show_message(f"What you painted is kept in {self._keep(self._layer)!r}.")
            self._painted = False
        show(self._layer, clusters)
        self._refresh()

    def _wait(self, *_: Any) -> None:
        self._timer.start()

    def relabel(self) -> None:
        """Show the movie with as many clusters as the slider says."""
        self._timer.stop()
        clusters = self.clusters
        if clusters is not None and self.level.value != clusters.level:
            self._change(at_level(clusters, self.level.value), picture=True)

    def rename(self, *_: Any) -> None:
        """Give the selected cluster the name that was typed."""
        clusters = self.clusters
        if clusters is None:
            return
        label = int(self._layer.selected_label)
        if self.name.value.strip() != clusters.name(label):
            self._change(named(clusters, label, self.name.value))

    def ask_colour(self, *_: Any) -> None:
        """Let the user choose a colour for the selected cluster."""
        clusters = self.clusters
        if clusters is None:
            return
        label = int(self._layer.selected_label)
        now = QColor.fromRgbF(*clusters.colour(label))
        chosen = QColorDialog.getColor(now, self.native, "Colour of this cluster")
        if chosen.isValid():
            self.set_colour((chosen.redF(), chosen.greenF(), chosen.blueF(), 1.0))

    def set_colour(self, colour: tuple[float, float, float, float]) -> None:
        """Give the selected cluster a colour, red, green, blue and opacity from 0 to 1."""
        if self.clusters is not None:
            self._change(coloured(self.clusters, int(self._layer.selected_label), colour))

    def toggle_background(self, *_: Any) -> None:
        """Make the selected cluster background, or bring it back."""
        clusters = self.clusters
        if clusters is not None:
            label = int(self._layer.selected_label)
            self._change(background_toggled(clusters, label), picture=True)


def _title(clusters: Clusters, label: int, share: float) -> str:
    """Return how a cluster is listed: ``3, 12 %, nuclei``."""
    part = f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else "< 1 %"
    return ", ".join(filter(None, (str(label), part, clusters.name(label))))


def _swatch(clusters: Clusters, label: int) -> QIcon:
    """Return a square in a cluster's colour; an empty one for what is background."""
    square = QPixmap(SWATCH, SWATCH)
    hidden = clusters.hidden(label)
    square.fill(QColor(0, 0, 0, 0) if hidden else QColor.fromRgbF(*clusters.colour(label)))
    return QIcon(square)
