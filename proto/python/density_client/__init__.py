"""A client of density-server: arrays, pictures and paths in, likelihoods and decisions out."""

from .client import AsyncClient, Client
from .wire import Answer, DensityError, Images

__all__ = ["Answer", "AsyncClient", "Client", "DensityError", "Images"]
