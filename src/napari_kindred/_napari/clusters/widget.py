"""The dock widget "Consistent clusters": the same kind, the same label, in every frame."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FileEdit, PushButton

from ...clusters.config import ClusterConfig
from ...core.errors import OptionError
from ...methods import CLUSTERS
from ..common.encoder_input import EncoderInput
from ..common.form import labelled, row
from ..common.layers import KEY, LayerImage
from ..label_widget import LabelWidget
from .panel import ClusterPanel
from .run import ClusterRun

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from ...clusters.model import HierarchicalClustering
    from ...core.events import Event
    from ...results.segmentation import Segmentation


class ClustersWidget(LabelWidget):
    """Clusters a movie, and lets the clusters be split, merged, named and used elsewhere."""

    method = CLUSTERS
    left_out = ("axes", "channel", "encoder")
    title = "Clusters"
    panel: ClusterPanel
    run_tip = "Cluster the movie into a new Labels layer."

    # -- what is on it ---------------------------------------------------------------------

    def own_inputs(self) -> list[Widget]:
        self.encoder = EncoderInput(on_known=self.check)
        return self.encoder.rows()

    def own_options(self) -> list[Widget]:
        self.model = FileEdit(
            label="Saved model",
            mode="r",
            filter="*.safetensors",
            nullable=True,
            tooltip="Label the frames with a saved model instead of clustering them.",
        )
        self.model.changed.connect(self.check)
        return [labelled(self.model)]

    def make_panel(self) -> ClusterPanel:
        return ClusterPanel(self.controls.show_message, self._viewer)

    def own_outputs(self) -> list[Widget]:
        self.apply = PushButton(
            text="Apply to image",
            tooltip="Label the chosen image with these clusters, without finding new ones.",
        )
        self.save = PushButton(
            text="Save model …",
            tooltip="Save these clusters as a model, to label similar movies with it.",
        )
        self.more = row(self.apply, self.save)
        self.apply.changed.connect(self.start_applying)
        self.save.changed.connect(self.save_model)
        return [*super().own_outputs(), self.more]

    def own_values(self) -> dict[str, Any]:
        if not self.encoder.usable:
            raise OptionError("Choose an encoder that can be used; see the line below it.")
        return {"encoder": self.encoder.choice.value}

    def restore(self, options: Mapping[str, Any]) -> None:
        super().restore(options)
        self.encoder.choose(str(options.get("encoder", ClusterConfig().encoder)))

    def check(self, *_: Any) -> Any:
        config = super().check()
        self._offer_applying(config is not None)
        return config

    def _offer_applying(self, valid: bool) -> None:
        layer, image = self.panel.layer, self.layer_image
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

    # -- running ---------------------------------------------------------------------------

    def job_of(
        self, data: Any, config: ClusterConfig
    ) -> Callable[[], Generator[Event, None, Segmentation]]:
        segment, model = self._segment, self._model_path()
        return lambda: segment(data, config=config, **({"model": model} if model else {}))

    def run_of(self, layer: Image, image: LayerImage, config: ClusterConfig) -> ClusterRun:
        return ClusterRun(self._viewer, layer, image, config, model=self._model_path())

    def start_applying(self, *_: Any) -> None:
        """Label the image chosen above by the model of the selected clusters."""
        config, clusters = self.check(), self.panel.state
        if config is None or clusters is None or self.controls.busy or self.layer_image is None:
            return
        config = fitting(config, clusters.model)
        run = ClusterRun(self._viewer, self.image.value, self.layer_image, config, source=clusters)
        job = partial(self._segment, self.layer_image.file, config=config, model=clusters.model)
        self.controls.launch(run, job)
        self.apply.enabled = False

    def release(self) -> None:
        self.encoder.abandon()
        self.panel.picker.abandon()

    def _model_path(self) -> str:
        path = self.model.value
        return "" if path is None or str(path) in ("", ".") else str(path)

    # -- afterwards ------------------------------------------------------------------------

    def save_model(self, *_: Any, path: Path | None = None) -> None:
        """Save the model of the selected clusters; asks for the file if none is given."""
        clusters = self.panel.state
        if clusters is not None:
            name = f"{self.panel.layer.name}.safetensors"
            self.save_file("model", name, clusters.model.save, path)


def fitting(config: ClusterConfig, model: HierarchicalClustering) -> ClusterConfig:
    """Return the config with the latent space that a model was made in."""
    made = {"encoder": model.encoder_.get("name"), "stride": model.encoder_.get("stride")}
    (stride,) = (item for item in fields(config) if item.name == "stride")
    if made["stride"] not in stride.metadata["choices"]:  # transformers leave no choice
        del made["stride"]
    return replace(config, **{name: value for name, value in made.items() if value is not None})
