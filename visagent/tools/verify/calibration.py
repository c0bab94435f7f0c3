"""The distances at which `verify` decides, and what they are worth, as measured by the calibration run."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visagent.errors import WeightsError

Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Part):
    """A share of comparisons with its Wilson interval at 95 %."""

    rate: Share
    low: Share
    high: Share
    errors: int
    comparisons: int


class DevelopmentHalf(_Part):
    """The half of the people that the distances were chosen on."""

    mated: int
    non_mated: int
    fnmr: Rate


class TestHalf(_Part):
    """The other half, which measures them."""

    fmr: Rate
    fnmr: Rate
    different_people_called_same: Rate
    same_person_called_different: Rate
    same_person_unsure: Rate
    different_people_unsure: Rate


class Calibration(_Part):
    """What `python -m visagent.evaluation.verify_calibration` wrote.

    Attributes:
        threshold: Distance at the target false-match rate on the development half.
        same_up_to: Distances up to here are answered "same" (a tenth of the target false-match rate).
        different_over: Distances over this are answered "different"; between the two the answer is "unsure".
    """

    model: str
    model_digest: str
    metric: str
    data: str
    protocol: str
    identities: int
    pictures: int
    abstained: Rate
    threshold: float
    same_up_to: float
    different_over: float
    target_fmr: Share
    development: DevelopmentHalf
    test: TestHalf
    date: str
    command: str

    @model_validator(mode="after")
    def _band_holds_the_threshold(self) -> Calibration:
        if not 0 < self.same_up_to <= self.threshold <= self.different_over:
            raise ValueError("the band must hold the threshold")
        return self

    @property
    def source(self) -> str:
        """Where the threshold comes from, for `Score.threshold_source`."""
        test = self.test
        return (f"false-match rate {self.target_fmr:.0%} on one half of the people of LFW; on the other half FMR "
                f"{test.fmr.rate:.2%} ({test.fmr.low:.2%}-{test.fmr.high:.2%}, {test.fmr.comparisons:,} comparisons), "
                f"FNMR {test.fnmr.rate:.2%} ({test.fnmr.low:.2%}-{test.fnmr.high:.2%}, "
                f"{test.fnmr.comparisons:,} comparisons), {self.date}")


def load_calibration() -> Calibration:
    """Read the calibration that ships with the tool; give it to `Models.get`. Raises WeightsError."""
    try:
        text = files("visagent.tools.verify").joinpath("calibration.json").read_text(encoding="utf-8")
        return Calibration.model_validate_json(text)
    except (OSError, ValidationError):
        raise WeightsError("The calibration of the tool 'verify' is missing or damaged; install visagent anew, or run "
                           "python -m visagent.evaluation.verify_calibration.") from None
