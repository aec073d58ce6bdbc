"""The dock widget "Consistent clusters": the same kind, the same label, in every frame."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FileEdit, PushButton
from qtpy.QtWidgets import QFileDialog

from ...clusters.config import ClusterConfig
from ...core.errors import KindredError, OptionError
from ...methods import CLUSTERS
from ..common.encoder_input import EncoderInput
from ..common.form import labelled, row
from ..common.layers import KEY, LayerImage, keep_copy
from ..method_widget import MethodWidget, Segment
from .layer import clusters_of
from .panel import ClusterPanel
from .run import ClusterRun

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import napari.viewer
    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from ...clusters.model import HierarchicalClustering
    from ...core.events import Event
    from ...results.segmentation import Segmentation
    from ..common.run import JobView

WIDTH = 350
"""Pixels that the dock's title needs, and that buttons need to show what is on them."""


class ClustersWidget(MethodWidget):
    """Clusters a movie, and lets the clusters be split, merged, named and used elsewhere.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    segment : callable, optional
        Takes an array, ``config=`` and ``model=``, and returns the generator that does the work;
        :func:`napari_kindred.iter_cluster_stack` when left out.
    """

    method = CLUSTERS
    left_out = ("axes", "channel", "encoder")
    title = "Clusters"
    run_tip = "Cluster the movie into a new Labels layer."

    def __init__(self, viewer: napari.viewer.Viewer, segment: Segment | None = None) -> None:
        super().__init__(viewer, segment)
        self.min_width = WIDTH
        viewer.layers.selection.events.active.connect(self._take_result)
        viewer.layers.events.removed.connect(self._take_result)
        self._take_result()

    # -- what is on it ---------------------------------------------------------------------

    def own_inputs(self) -> list[Widget]:
        """Return the encoder's rows; see :class:`MethodWidget`."""
        self.encoder = EncoderInput(on_known=self.check)
        return self.encoder.rows()

    def own_options(self) -> list[Widget]:
        """Return the row for a saved model; see :class:`MethodWidget`."""
        self.model = FileEdit(
            label="Saved model",
            mode="r",
            filter="*.safetensors",
            nullable=True,
            tooltip="Label the frames with a saved model instead of clustering them.",
        )
        self.model.changed.connect(self.check)
        return [labelled(self.model)]

    def own_outputs(self) -> list[Widget]:
        """Return what there is to do with clusters; see :class:`MethodWidget`."""
        self.panel = ClusterPanel(self.controls.show_message, partial(keep_copy, self._viewer))
        self.apply = PushButton(
            text="Apply to the image above",
            tooltip="Label the image chosen above with the selected clusters.",
        )
        self.save = PushButton(
            text="Save model …",
            tooltip="Save these clusters as a model, to label similar movies with it.",
        )
        self.more = row(self.apply, self.save)
        self.apply.changed.connect(self.start_applying)
        self.save.changed.connect(self.save_model)
        return [self.panel, self.more]

    def entered(self) -> dict[str, Any]:
        """Return the encoder's name; see :class:`MethodWidget`."""
        if not self.encoder.usable:
            raise OptionError("Choose an encoder that can be used; see the line below it.")
        return {"encoder": self.encoder.choice.value}

    def restore(self, options: Mapping[str, Any]) -> None:
        """Enter options of an earlier run; see :class:`MethodWidget`."""
        super().restore(options)
        self.encoder.choose(str(options.get("encoder", ClusterConfig().encoder)))

    def check(self, *_: Any) -> Any:
        """Check every entry; see :class:`MethodWidget`."""
        config = super().check()
        self._offer_applying(config is not None)
        return config

    def _offer_applying(self, valid: bool) -> None:
        layer, image = self.panel.layer, self.known
        self.more.visible = layer is not None
        if layer is None:
            return
        source = layer.metadata.get(KEY, {}).get("source_layer")
        target = "another image" if image is None or image.name == source else repr(image.name)
        self.apply.text = f"Apply to {target}"
        self.apply.tooltip = (
            f"Label the image chosen above with the clusters of {layer.name!r}, their names and "
            "colours; choose another image first."
        )
        self.apply.enabled = valid and not self.controls.busy and target != "another image"

    def _take_result(self, *_: Any) -> None:
        """Work on the clusters that are selected, else on those that were before."""
        layer = self.layer_to_change(clusters_of, self.panel.layer)
        now = self.panel.layer
        if layer is None or now is None or layer.unique_id != now.unique_id:
            self.panel.take(layer)
            self.check()

    # -- running ---------------------------------------------------------------------------

    def job_of(
        self, data: Any, config: ClusterConfig
    ) -> Callable[[], Generator[Event, None, Segmentation]]:
        """Return what starts a job; see :class:`MethodWidget`."""
        segment, model = self._segment, self._model_path()
        return lambda: segment(data, config=config, **({"model": model} if model else {}))

    def run_of(self, layer: Image, image: LayerImage, config: ClusterConfig) -> ClusterRun:
        """Return what shows a job; see :class:`MethodWidget`."""
        return ClusterRun(self._viewer, layer, image, config, model=self._model_path())

    def start_applying(self, *_: Any) -> None:
        """Label the image chosen above by the model of the selected clusters."""
        config, clusters = self.check(), self.panel.state
        if config is None or clusters is None or self.controls.busy or self.known is None:
            return
        config = fitting(config, clusters.model)
        run = ClusterRun(self._viewer, self.image.value, self.known, config, source=clusters)
        job = partial(self._segment, self.known.file, config=config, model=clusters.model)
        self.controls.launch(run, job)
        self.apply.enabled = False

    def ended(self, run: JobView, result: Any) -> None:
        """Show the clusters; see :class:`MethodWidget`."""
        super().ended(run, result)
        if clusters_of(run.layer) is not None and run.layer in self._viewer.layers:
            self._viewer.layers.selection.active = run.layer
            self.panel.take(run.layer)
            self._offer_applying(self.run.enabled)

    def release(self) -> None:
        """Discard the check of the encoder; see :class:`MethodWidget`."""
        self.encoder.abandon()

    def _model_path(self) -> str:
        path = self.model.value
        return "" if path is None or str(path) in ("", ".") else str(path)

    # -- afterwards ------------------------------------------------------------------------

    def save_model(self, *_: Any, path: Path | None = None) -> None:
        """Save the model of the selected clusters; asks for the file where none is given."""
        clusters = self.panel.state
        if clusters is None:
            return
        if path is None:
            name = f"{self.panel.layer.name}.safetensors"
            chosen, _filter = QFileDialog.getSaveFileName(
                self.native, "Save model", name, "Model (*.safetensors)"
            )
            if not chosen:
                return
            path = Path(chosen)
        try:
            clusters.model.save(path.with_suffix(".safetensors"))
        except (KindredError, OSError) as error:
            self.controls.show_message(str(error), wrong=True)
            return
        self.controls.show_message(f"Saved the model to {str(path.with_suffix('.safetensors'))!r}.")


def fitting(config: ClusterConfig, model: HierarchicalClustering) -> ClusterConfig:
    """Return the config with the latent space that a model was made in."""
    made = {"encoder": model.encoder_.get("name"), "stride": model.encoder_.get("stride")}
    (stride,) = (item for item in fields(config) if item.name == "stride")
    if made["stride"] not in stride.metadata["choices"]:  # transformers leave no choice
        del made["stride"]
    return replace(config, **{name: value for name, value in made.items() if value is not None})
