"""Parameterisations, which are optimised and become images: Fourier (the default), pixels, CPPN, photographs."""

from .cppn import CPPNParam
from .fourier import FourierParam
from .param import Param
from .photo import ImageFile, ImageParam
from .pixel import PixelParam

__all__ = ["CPPNParam", "FourierParam", "ImageFile", "ImageParam", "Param", "PixelParam"]
