"""All native forms; a new family is a file and a line here."""

from birdplane_keras.torch_plugin.native import attention, linear, losses, normalisation, recurrent
from birdplane_keras.torch_plugin.native.forms import NativeForm

FORMS: tuple[NativeForm, ...] = (
    *normalisation.FORMS,
    *linear.FORMS,
    *attention.FORMS,
    *recurrent.FORMS,
    *losses.FORMS,
)
