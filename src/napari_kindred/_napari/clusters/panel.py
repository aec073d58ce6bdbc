"""Panel that changes a layer of clusters: their number, names, colours and background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Label, LineEdit, PushButton, Slider
from qtpy.QtGui import QColor, QIcon
from qtpy.QtWidgets import QColorDialog

from ..common.form import labelled, row, sentence, swatch
from ..common.label_panel import LabelPanel
from ..common.label_state import show
from .layer import Clusters, at_level, background_toggled, coloured, named
from .picker import Picker

if TYPE_CHECKING:
    from collections.abc import Callable


class ClusterPanel(LabelPanel):
    """Changes one layer of clusters; hidden while there is none."""

    kind = Clusters
    rest = 30

    def __init__(self, show_message: Callable[..., None], viewer: Any) -> None:
        super().__init__(show_message, viewer)
        self.level = Slider(
            label="Clusters shown",
            min=2,
            max=3,
            readout=False,
            tooltip="Number of clusters to show; splits or merges them in the whole movie.",
        )
        self.count = Label(value="")
        self.cluster = ComboBox(
            label="Cluster",
            choices=[],
            tooltip="The selected cluster; pick one in the image with napari's colour picker.",
        )
        self.name = LineEdit(
            label="Name", tooltip="Name of this cluster, saved in the layer's features."
        )
        self.colour = PushButton(text="Colour …", tooltip="Choose the colour of this cluster.")
        self.background = PushButton(
            text="Make background",
            tooltip="Hide this cluster: its pixels get label 0.",
        )
        buttons = row(self.colour, self.background)
        self.about = sentence()
        level = labelled(self.level)
        level.append(self.count)
        rows = [labelled(widget) for widget in (self.cluster, self.name)]
        self.picker = Picker(show_message, viewer)
        self.extend([self.about, self.picker, level, *rows, buttons])
        self.level.changed.connect(lambda: self.timer.start())
        self.level.changed.connect(self._show_count)
        self.cluster.changed.connect(self._choose)
        self.name.native.editingFinished.connect(self.rename)
        self.colour.changed.connect(self.ask_colour)
        self.background.changed.connect(self.toggle_background)

    def refresh(self) -> None:
        """Show the layer's clusters, or hide the panel."""
        clusters: Clusters | None = self.state
        self.visible = clusters is not None
        self.picker.take(self._layer, clusters)
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
            self.cluster.choices = []  # else renamed ones would move to the end
            self.cluster.choices = [
                (_title(clusters, label, rows["share"].get(label, 0.0)), label)
                for label in clusters.all_labels
            ]
            for place, label in enumerate(clusters.all_labels):
                self.cluster.native.setItemIcon(place, _icon(clusters, label))
        self.follow()

    def _show_count(self, *_: Any) -> None:
        self.count.value = f"{self.level.value} of {self.level.max}"

    def follow(self, *_: Any) -> None:
        """Show the cluster that is selected in the layer."""
        clusters: Clusters | None = self.state
        if clusters is None:
            return
        label = int(self._layer.selected_label)
        known = label in clusters.all_labels
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
            "Show again the clusters that were made background."
            if back
            else "Hide this cluster: its pixels get label 0. The same button brings it back."
        )

    def _choose(self, label: int | None) -> None:
        if self._layer is not None and label is not None:
            self._layer.selected_label = label
            self.follow()

    # -- changing it -----------------------------------------------------------------------

    def _change(self, clusters: Clusters, *, relabelled: bool = False) -> None:
        """Show other clusters; what was painted is copied first if labels are replaced."""
        if relabelled:
            self.keep_painted()
        show(self._layer, clusters)
        self.refresh()

    def relabel(self) -> None:
        """Show as many clusters as the slider says."""
        self.timer.stop()
        clusters: Clusters | None = self.state
        if clusters is not None and self.level.value != clusters.level:
            self._change(at_level(clusters, self.level.value), relabelled=True)

    def rename(self, *_: Any) -> None:
        """Rename the selected cluster."""
        clusters: Clusters | None = self.state
        if clusters is None:
            return
        label = int(self._layer.selected_label)
        if self.name.value.strip() != clusters.name(label):
            self._change(named(clusters, label, self.name.value))

    def ask_colour(self, *_: Any) -> None:
        """Ask for a colour for the selected cluster."""
        clusters: Clusters | None = self.state
        if clusters is None:
            return
        label = int(self._layer.selected_label)
        now = QColor.fromRgbF(*clusters.colour(label))
        chosen = QColorDialog.getColor(now, self.native, "Colour of this cluster")
        if chosen.isValid():
            self.set_colour((chosen.redF(), chosen.greenF(), chosen.blueF(), 1.0))

    def set_colour(self, colour: tuple[float, float, float, float]) -> None:
        """Colour the selected cluster; red, green, blue and opacity from 0 to 1."""
        if self.state is not None:
            self._change(coloured(self.state, int(self._layer.selected_label), colour))

    def toggle_background(self, *_: Any) -> None:
        """Make the selected cluster background, or bring it back."""
        clusters: Clusters | None = self.state
        if clusters is not None:
            label = int(self._layer.selected_label)
            self._change(background_toggled(clusters, label), relabelled=True)


def _title(clusters: Clusters, label: int, share: float) -> str:
    """Return how a cluster is listed: ``3, 12 %, nuclei``."""
    part = f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else "< 1 %"
    return ", ".join(filter(None, (str(label), part, clusters.name(label))))


def _icon(clusters: Clusters, label: int) -> QIcon:
    """Return a square in a cluster's colour, an empty one for background."""
    if clusters.hidden(label):
        return swatch(QColor(0, 0, 0, 0))
    return swatch(QColor.fromRgbF(*clusters.colour(label)))
