#!/usr/bin/env python3
"""GIMP 3 plug-in: takes the reflection out of a photograph, as layers above it.

It runs the command ``clearpane remove`` on what is visible; Clearpane may be installed in any Python. Put
this folder into GIMP's folder of plug-ins and make the file executable. The entry is Filters > Enhance >
Remove Reflection.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, Gio, GLib, GObject  # noqa: E402

PROCEDURE = "clearpane-remove-reflection"
LAYERS = {"transmission": "without the reflection", "reflection": "the reflection"}


def command(program: str, photo: Path, output: Path, strength: float, quality: str) -> list[str]:
    """Return the command that writes photo_transmission.png and photo_reflection.png."""
    words = [program, "remove", str(photo), "--output", str(output), "--format", "png", "--reflection"]
    return [*words, "--strength", f"{strength:g}", "--quality", quality]


def separate(image: object, program: str, strength: float, quality: str) -> None:
    """Add the layers to an image, in one step of undo.

    Raises:
        RuntimeError: The command is missing or failed; the message is its last line.
    """
    silent = Gimp.RunMode.NONINTERACTIVE
    with tempfile.TemporaryDirectory() as place:
        photo, output = Path(place) / "photo.png", Path(place) / "layers"
        Gimp.file_save(silent, image, Gio.File.new_for_path(str(photo)), None)
        try:
            made = subprocess.run(
                command(program, photo, output, strength, quality), capture_output=True, text=True
            )
        except OSError as error:
            raise RuntimeError(f"{program}: cannot be run ({error.strerror}); install Clearpane") from error
        if made.returncode != 0:
            raise RuntimeError((made.stderr.strip().splitlines() or ["clearpane remove failed"])[-1])
        image.undo_group_start()
        try:
            for kind, name in reversed(LAYERS.items()):
                file = Gio.File.new_for_path(str(output / f"photo_{kind}.png"))
                layer = Gimp.file_load_layer(silent, image, file)
                layer.set_name(name)
                layer.set_visible(kind == "transmission")
                image.insert_layer(layer, None, 0)
        finally:
            image.undo_group_end()
    Gimp.displays_flush()


class Clearpane(Gimp.PlugIn):
    """The plug-in, as GIMP asks for it."""

    def do_query_procedures(self) -> list[str]:
        """Name the procedures."""
        return [PROCEDURE]

    def do_create_procedure(self, name: str) -> object:
        """Describe the procedure, its menu entry and its options."""
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, self.run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.ALWAYS)
        procedure.set_menu_label("Remove _Reflection...")
        procedure.add_menu_path("<Image>/Filters/Enhance/")
        procedure.set_documentation(
            "Take the reflection out of a photograph taken through glass",
            "Adds the scene behind the glass and the reflection as layers.",
            name,
        )
        procedure.set_attribution("The Clearpane authors", "The Clearpane authors", "2026")
        writable = GObject.ParamFlags.READWRITE
        choice = Gimp.Choice.new()
        choice.add("fast", 0, "Fast", "")
        choice.add("best", 1, "Best", "several forward passes")
        procedure.add_double_argument(
            "strength", "_Strength", "1 removes all, -1 shows it alone", -1, 1, 1, writable
        )
        procedure.add_choice_argument("quality", "_Quality", "", choice, "fast", writable)
        procedure.add_string_argument(
            "program", "_Program", "the command clearpane, or its path", "clearpane", writable
        )
        return procedure

    def run(self, procedure, mode, image, drawables, config, data):
        """Ask for the options, separate, and report."""
        if mode == Gimp.RunMode.INTERACTIVE:
            GimpUi.init(PROCEDURE)
            dialog = GimpUi.ProcedureDialog.new(procedure, config, "Remove Reflection")
            dialog.fill(None)
            accepted = dialog.run()
            dialog.destroy()
            if not accepted:
                return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, GLib.Error())
        names = ("program", "strength", "quality")
        try:
            separate(image, *(config.get_property(name) for name in names))
        except RuntimeError as error:
            return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, GLib.Error(str(error)))
        return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, GLib.Error())


if __name__ == "__main__":
    Gimp.main(Clearpane.__gtype__, sys.argv)
