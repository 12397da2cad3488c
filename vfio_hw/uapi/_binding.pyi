# cffi makes the attributes of both from the declarations, so nothing more can be said of them here.
from typing import Any

from cffi import FFI

ffi: FFI
lib: Any
