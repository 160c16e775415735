"""Maps built from fields and an Integrator, and the plain models to hold them against."""

from node_jax.models.baselines import VectorAutoregression, fit_vector_autoregression, last_value_forecast
from node_jax.models.classifier import Classifier
from node_jax.models.forecaster import Forecaster
from node_jax.models.individual import AbstractIndividual, CompartmentIndividual
from node_jax.models.logistic import LogisticRegression, fit_logistic_regression
from node_jax.models.scaling import Scaling, fit_scaling
from node_jax.models.trainable import Constant, combine_trainable, partition_trainable

__all__ = [
    "AbstractIndividual",
    "Classifier",
    "CompartmentIndividual",
    "Constant",
    "Forecaster",
    "LogisticRegression",
    "Scaling",
    "VectorAutoregression",
    "combine_trainable",
    "fit_logistic_regression",
    "fit_scaling",
    "fit_vector_autoregression",
    "last_value_forecast",
    "partition_trainable",
]
