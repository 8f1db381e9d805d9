"""Writes the list of globals that pickles of models may use: `python tools/model_globals.py`.

Names of scikit-learn's estimators are taken from the installed version and joined with those that the list has
already, so that models of older versions stay loadable; everything else on the list is written here by hand.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "src/andon/security/admission/globals.txt"

BY_HAND = {
    "Python": """
        builtins.set builtins.frozenset builtins.list builtins.dict builtins.tuple builtins.slice builtins.complex
        builtins.object builtins.int builtins.float builtins.bool builtins.str builtins.bytes
        builtins.bytearray
        collections.OrderedDict collections.defaultdict collections.Counter collections.deque
        copyreg._reconstructor _codecs.encode datetime.datetime datetime.date datetime.timedelta
    """,
    "numpy": """
        numpy.ndarray numpy.dtype numpy.bool numpy.bool_ numpy.int8 numpy.int16 numpy.int32 numpy.int64 numpy.uint8
        numpy.uint16 numpy.uint32 numpy.uint64 numpy.float16 numpy.float32 numpy.float64 numpy.str_ numpy.object_
        numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct
        numpy.core.multiarray.scalar numpy._core.multiarray.scalar
        numpy.core.numeric._frombuffer numpy._core.numeric._frombuffer
        numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor
        numpy.random._pickle.__bit_generator_ctor numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64
        numpy.random.mtrand.RandomState numpy.random.bit_generator.SeedSequence
        numpy.random.bit_generator.__pyx_unpickle_SeedSequence numpy.mean
        joblib.numpy_pickle.NumpyArrayWrapper
    """,
    "scipy": """
        scipy.sparse._csr.csr_matrix scipy.sparse._csr.csr_array scipy.sparse._csc.csc_matrix
        scipy.sparse._csc.csc_array scipy.sparse._coo.coo_matrix scipy.sparse._coo.coo_array
        scipy.sparse.csr.csr_matrix scipy.sparse.csc.csc_matrix
        scipy.interpolate._interpolate.interp1d scipy.interpolate._bsplines.BSpline
        scipy._lib.array_api_compat.numpy._aliases.asarray
    """,
    "scikit-learn, inside": """
        sklearn.tree._tree.Tree sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor
        sklearn.ensemble._hist_gradient_boosting.binning._BinMapper
        sklearn.preprocessing._label.LabelEncoder sklearn.preprocessing._label.LabelBinarizer
        sklearn.utils._bunch.Bunch sklearn.calibration._CalibratedClassifier
        sklearn.calibration._SigmoidCalibration sklearn.isotonic.IsotonicRegression
        sklearn.neighbors._kd_tree.KDTree sklearn.neighbors._ball_tree.BallTree
        sklearn.neighbors._kd_tree.newObj sklearn.neighbors._ball_tree.newObj
        sklearn.neighbors._kd_tree.KDTree64 sklearn.neighbors._ball_tree.BallTree64
        sklearn.neighbors._kd_tree.newObj64 sklearn.neighbors._ball_tree.newObj64
        sklearn.metrics._dist_metrics.EuclideanDistance sklearn.metrics._dist_metrics.EuclideanDistance64
        sklearn.metrics._dist_metrics.newObj sklearn.metrics._dist_metrics.newObj64
        sklearn.metrics._dist_metrics.ManhattanDistance64 sklearn.metrics._dist_metrics.MinkowskiDistance64
        sklearn.linear_model._sgd_fast.Hinge sklearn.linear_model._sgd_fast.Log
        sklearn._loss._loss.CyHalfBinomialLoss sklearn._loss._loss.CyHalfMultinomialLoss
        sklearn._loss._loss.CyHalfSquaredError sklearn._loss._loss.CyAbsoluteError
        sklearn._loss._loss.CyHalfPoissonLoss sklearn._loss._loss.CyExponentialLoss sklearn._loss._loss.CyHuberLoss
        sklearn._loss._loss.CyPinballLoss sklearn._loss._loss.CyHalfGammaLoss
        sklearn._loss.loss.HalfBinomialLoss sklearn._loss.loss.HalfMultinomialLoss
        sklearn._loss.loss.HalfSquaredError sklearn._loss.loss.AbsoluteError sklearn._loss.loss.HalfPoissonLoss
        sklearn._loss.loss.ExponentialLoss sklearn._loss.loss.HuberLoss sklearn._loss.loss.PinballLoss
        sklearn._loss.loss.HalfGammaLoss sklearn._loss.link.Interval sklearn._loss.link.IdentityLink
        sklearn._loss.link.LogitLink sklearn._loss.link.LogLink sklearn._loss.link.MultinomialLogit
        sklearn._loss.link.HalfLogitLink
        sklearn.gaussian_process.kernels.RBF sklearn.gaussian_process.kernels.ConstantKernel
        sklearn.gaussian_process.kernels.Product sklearn.gaussian_process.kernels.Sum
        sklearn.gaussian_process.kernels.WhiteKernel sklearn.gaussian_process.kernels.Matern
        sklearn.cluster._birch._CFNode sklearn.cluster._birch._CFSubcluster
        sklearn.cluster._kmeans._kmeans_single_lloyd sklearn.cluster._bisect_k_means._BisectingTree
        sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace
        sklearn.feature_selection._univariate_selection.f_classif
        sklearn.feature_selection._univariate_selection.f_regression
        sklearn.feature_selection._univariate_selection.chi2
        sklearn.neural_network._stochastic_optimizers.AdamOptimizer
        sklearn.neural_network._stochastic_optimizers.SGDOptimizer
        sklearn._loss.loss.HalfTweedieLoss sklearn._loss.loss.HalfTweedieLossIdentity
        sklearn._loss._loss.CyHalfTweedieLoss sklearn._loss._loss.CyHalfTweedieLossIdentity
        sklearn.utils._metadata_requests.MetadataRequest
    """,
}
# They call functions that they are given, or hold other people's objects by design.
LEFT_OUT = frozenset({"FunctionTransformer"})


def estimators() -> set[str]:
    """Every public estimator's class by the name that a pickle of it uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        all_estimators = importlib.import_module("sklearn.utils").all_estimators
        return {f"{kind.__module__}.{name}" for name, kind in all_estimators() if name not in LEFT_OUT}


def main() -> None:
    """Write the file."""
    written = set(LIST.read_text().split()) if LIST.exists() else set()
    kept = {name for name in written if name.startswith("sklearn.")}
    by_hand = {name for names in BY_HAND.values() for name in names.split()}
    lines = [
        "# Globals that a pickle of a model may use, exactly. Made by tools/model_globals.py; read by people."
    ]
    for title, names in BY_HAND.items():
        lines += [f"# {title}", *sorted(set(names.split()))]
    lines += ["# scikit-learn, estimators", *sorted((estimators() | kept) - by_hand)]
    LIST.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
