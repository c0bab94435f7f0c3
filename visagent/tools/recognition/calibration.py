"""What a score means: the thresholds of an encoder, the error rates they were set at, on whom, and how sure that is.

`visagent calibrate` writes a calibration from labelled pictures. One threshold does not fit all questions: comparing
two faces asks for a false-match rate, searching N templates asks for the far smaller rate at which N comparisons
together seldom go wrong.
"""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visagent.errors import CalibrationError
from visagent.vision.encoder import EmbeddingContract

Share = Annotated[float, Field(ge=0, le=1)]
SHIPPED: Final = "dlib-lfw.json"
RULE_OF_30: Final = 30
"""A rate is supported by data in which at least so many errors are expected (Doddington 1998: then the true rate is
within 30 % of the measured one with 90 % confidence, if trials are independent)."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Part):
    """An error rate with its 95 % interval by resampling people."""

    rate: Share
    low: Share
    high: Share
    errors: int = Field(ge=0)
    comparisons: int = Field(ge=0)

    def __str__(self) -> str:
        return f"{_percent(self.rate)} ({_percent(self.low)}-{_percent(self.high)})"


class Half(_Part):
    """One half of the people."""

    identities: int
    pictures: int
    mated: int
    non_mated: int


class OperatingPoint(_Part):
    """A threshold set on the development half, and what it is worth on the test half.

    Attributes:
        target_fmr: The false-match rate that was asked for.
        threshold: Similarities from here on count as the same person.
        low: The threshold's own 95 % interval, by resampling the development half's people.
        high: The interval's other end.
        fmr: On the test half.
        fnmr: On the test half.
    """

    target_fmr: Share
    threshold: float
    low: float
    high: float
    fmr: Rate
    fnmr: Rate


class Tail(_Part):
    """The generalised Pareto distribution of high non-mated scores, as `stretched`, for rates that no data supports.

    Attributes:
        above: Score over which it holds.
        share: Of the non-mated comparisons over it.
        shape: Of the distribution.
        scale: Of the distribution.
    """

    above: float
    share: Share
    shape: float
    scale: float = Field(gt=0)


class GroupRates(_Part):
    """What one group of the test half meets at a threshold that is the same for all."""

    group: str
    identities: int
    pictures: int
    target_fmr: Share
    fmr: Rate
    fnmr: Rate


class Threshold(_Part):
    """A threshold with where it comes from.

    Attributes:
        value: Similarities from here on count.
        fmr: The false-match rate of one comparison that it stands for.
        extrapolated: No data supports the rate: the threshold is from the fitted tail.
    """

    value: float
    fmr: float
    extrapolated: bool = False


class Calibration(_Part):
    """A calibration file.

    Attributes:
        points: One operating point for each decade of FMR that the data support.
        curve: (FMR, threshold) on the development half, from large rates to the smallest supported.
        different_below: Similarities under this count as different people: 1 % of mated comparisons of the development
            half lie under it.
        wrongly_different: Share of the test half's mated comparisons under it.
        eer: Equal error rate on the test half.
        failure_to_enrol: Share of pictures without a usable face.
    """

    contract: EmbeddingContract
    data: str
    protocol: str
    command: str
    date: str
    version: str
    identities: int
    pictures: int
    failure_to_enrol: Rate
    development: Half
    test: Half
    points: tuple[OperatingPoint, ...]
    curve: tuple[tuple[float, float], ...]
    tail: Tail
    different_below: float
    wrongly_different: Rate
    eer: Rate
    groups: tuple[GroupRates, ...] = ()

    @model_validator(mode="after")
    def _is_in_order(self) -> Calibration:
        rates, thresholds = [fmr for fmr, _ in self.curve], [threshold for _, threshold in self.curve]
        if len(rates) < 2 or rates != sorted(rates, reverse=True) or thresholds != sorted(thresholds):
            raise ValueError("the curve must fall in its rates and rise in its thresholds")
        if not self.points:
            raise ValueError("there must be an operating point")
        return self

    @property
    def smallest_supported_fmr(self) -> float:
        """Rates under this are extrapolated."""
        return RULE_OF_30 / self.development.non_mated

    def point(self, target_fmr: float) -> OperatingPoint:
        """The measured operating point of a rate. Raises CalibrationError if the data did not support it."""
        for point in self.points:
            if math.isclose(point.target_fmr, target_fmr):
                return point
        raise CalibrationError(f"The calibration has no operating point at a false-match rate of {target_fmr:g}; it "
                               f"has {', '.join(f'{point.target_fmr:g}' for point in self.points)}.")

    def at_fmr(self, fmr: float) -> Threshold:
        """The threshold of any false-match rate between 0 and 1, from the curve, or from the tail under its end.

        Raises:
            CalibrationError: A rate that is none.
        """
        if not 0 < fmr < 1:
            raise CalibrationError("A false-match rate lies between 0 and 1.")
        if fmr < self.curve[-1][0]:
            return Threshold(value=max(self._tail(fmr), self.curve[-1][1]), fmr=fmr, extrapolated=True)
        if fmr >= self.curve[0][0]:
            return Threshold(value=self.curve[0][1], fmr=self.curve[0][0])
        for (more, lower), (less, higher) in zip(self.curve, self.curve[1:], strict=False):
            if less <= fmr:
                share = (math.log(fmr) - math.log(more)) / (math.log(less) - math.log(more))
                return Threshold(value=lower + share * (higher - lower), fmr=fmr)
        raise AssertionError("the curve ends at its smallest rate")

    def for_search(self, templates: int, fpir: float) -> Threshold:
        """The threshold at which a search of N templates for somebody who is not among them finds one with `fpir`.

        FPIR = 1 - (1 - FMR)^N for independent comparisons (ISO/IEC 19795-1), so FMR = 1 - (1 - FPIR)^(1/N). A person's
        several templates count each.

        Args:
            templates: N, at least 1.
            fpir: The wanted false-positive identification rate, 0 to 1.

        Raises:
            CalibrationError: A rate or number that is none.
        """
        if templates < 1 or not 0 < fpir < 1:
            raise CalibrationError("A search has at least one template, and its false-positive rate lies between 0 "
                                   "and 1.")
        return self.at_fmr(-math.expm1(math.log1p(-fpir) / templates))

    def _tail(self, fmr: float) -> float:
        excess, shape, scale = self.tail.share / fmr, self.tail.shape, self.tail.scale
        beyond = scale * math.log(excess) if abs(shape) < 1e-9 else scale / shape * (float(excess ** shape) - 1)
        return 1 - math.exp(-(stretched(self.tail.above) + beyond))


@overload
def stretched(score: float) -> float: ...
@overload
def stretched(score: NDArray[np.float64]) -> NDArray[np.float64]: ...
def stretched(score: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """-log(1 - score): similarities up to 1 on a scale without an end."""
    values = -np.log(np.maximum(1 - np.asarray(score, np.float64), 1e-12))
    return values if isinstance(score, np.ndarray) else float(values)


def open_calibration(contract: EmbeddingContract, file: Path | None) -> Calibration:
    """The calibration of an encoder: of a file, or the shipped one; give it to `Models.get` with its arguments.

    Raises:
        CalibrationError: The file is missing or damaged, it is of another encoder, or none ships for this encoder.
    """
    try:
        text = (files("visagent.tools.recognition").joinpath(SHIPPED) if file is None else file).read_text("utf-8")
        calibration = Calibration.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        raise CalibrationError("The calibration is missing or damaged; make one with `visagent calibrate`, or install "
                               "visagent anew.") from None
    if calibration.contract.id != contract.id:
        which = "The shipped calibration" if file is None else "The calibration"
        raise CalibrationError(f"{which} is of {calibration.contract}, and the encoder in use is {contract}: scores "
                               "of one say nothing about the other. Make one with `visagent calibrate`, and name it "
                               "with the setting `calibration`.")
    return calibration


def _percent(rate: float) -> str:
    percent = 100 * rate
    if percent == 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(percent)))
    return f"{percent:.{digits}f} %"
