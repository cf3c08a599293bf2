"""What is optimised and becomes an image: Fourier (the default), pixel, CPPN, or a photograph."""

from .cppn import CPPNParam
from .fourier import FourierParam
from .param import Param
from .photo import ImageFile, ImageParam
from .pixel import PixelParam

__all__ = ["CPPNParam", "FourierParam", "ImageFile", "ImageParam", "Param", "PixelParam"]
